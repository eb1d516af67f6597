// SPDX-License-Identifier: BSD-2-Clause
// Job control: process groups and sessions, stopped processes, and the system calls about them.
#include "core/process/job_control.h"
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/eventpoll.h>
#include <stddef.h>
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"

struct group_walk {
    unsigned group;
    const struct signal_info *info;
    unsigned members, reached;
    bool answer;
};

static void send_to_member(struct process *process, void *argument) {
    struct group_walk *walk = argument;
    bool typed = walk->info->code == SI_KERNEL; // whoever is current has nothing to do with it
    if (walk->group ? process->group != walk->group
                    : process->pid == 1 || (process == process_current() && !typed))
        return;
    walk->members++;
    if (!typed && !process_may_control(process))
        return;
    walk->reached++;
    if (walk->info->signal && !process->zombie)
        signal_queue_process(process, walk->info);
}

int process_group_signal(unsigned group, const struct signal_info *info) {
    struct group_walk walk = {.group = group, .info = info};
    process_for_each(send_to_member, &walk);
    return walk.reached ? 0 : walk.members && group ? -EPERM : -ESRCH;
}

static void is_member(struct process *process, void *argument) {
    struct group_walk *walk = argument;
    walk->answer |= process->group == walk->group;
}

bool process_group_exists(unsigned group) {
    struct group_walk walk = {.group = group};
    process_for_each(is_member, &walk);
    return walk.answer;
}

static void has_parent_outside(struct process *process, void *argument) {
    struct group_walk *walk = argument;
    const struct process *parent = process->parent;
    walk->answer |= process->group == walk->group && !process->zombie && parent &&
                    parent->group != process->group && parent->session == process->session;
}

bool process_group_orphaned(void) {
    struct group_walk walk = {.group = process_current()->group};
    process_for_each(has_parent_outside, &walk);
    return !walk.answer;
}

// Tells the parent that the process has stopped or goes on.
static void tell_parent(const struct process *process, int code, int signal) {
    struct signal_info info = {
        .signal = SIGCHLD, .code = code, .pid = process->pid, .status = signal};
    spin_lock(&process_table_lock);
    struct process *parent = process->parent;
    if (parent) {
        if (!(parent->actions[SIGCHLD - 1].flags & SA_NOCLDSTOP))
            signal_queue_process(parent, &info);
        wait_queue_wake(&parent->child_exited, EPOLLIN);
    }
    spin_unlock(&process_table_lock);
}

void process_stop(const struct signal_info *info) {
    struct process *process = process_current();
    spin_lock(&process->lock);
    // Not if it was continued since the signal was taken.
    bool stop = !process->exiting && !process->stopped && process->continues == info->value;
    if (stop) {
        process->stopped = process->stop_reported = info->signal;
        process->continue_reported = false;
        list_for_each(node, &process->threads)
            thread_interrupt(container_of(node, struct thread, process_node), THREAD_WORK_STOP);
    }
    spin_unlock(&process->lock);
    if (stop)
        tell_parent(process, CLD_STOPPED, info->signal);
    process_wait_continued();
}

void process_continue(struct process *process) {
    process->continues++;
    if (!process->stopped)
        return;
    process->stopped = process->stop_reported = 0;
    process->continue_reported = process->tell_continue = true;
    wait_queue_wake(&process->threads_changed, EPOLLIN);
}

static bool continued(void *process) {
    atomic_fetch_and(&thread_current()->work, ~(uint32_t)THREAD_WORK_STOP);
    return !__atomic_load_n(&((struct process *)process)->stopped, __ATOMIC_SEQ_CST);
}

void process_wait_continued(void) {
    struct process *process = process_current();
    wait_until(&process->threads_changed, continued, process, TIME_NEVER, wait_uninterruptible);
    if (__atomic_exchange_n(&process->tell_continue, false, __ATOMIC_SEQ_CST))
        tell_parent(process, CLD_CONTINUED, SIGCONT);
}

// 0, or why the group may not be set. Table lock held.
static int set_group(struct process *process, unsigned group) {
    const struct process *caller = process_current();
    if (process != caller && process->parent != caller)
        return -ESRCH;
    if (process != caller && process->executed)
        return -EACCES;
    if (process->session != caller->session || process->session == process->pid)
        return -EPERM;
    if (group != process->pid && !process_table_has_group(group, process->session))
        return -EPERM;
    process->group = group;
    return 0;
}

int64_t sys_setpgid(const uint64_t *a) {
    unsigned caller = process_current()->pid, pid = a[0] ? (unsigned)a[0] : caller;
    if ((int)a[1] < 0)
        return -EINVAL;
    struct process *process = process_find(pid);
    if (!process)
        return -ESRCH;
    spin_lock(&process_table_lock);
    int error = set_group(process, a[1] ? (unsigned)a[1] : pid);
    spin_unlock(&process_table_lock);
    process_put(process);
    return error;
}

int64_t sys_setsid(const uint64_t *a) {
    struct process *process = process_current();
    spin_lock(&process_table_lock);
    bool leads = process_table_has_group(process->pid, 0);
    if (!leads)
        process->session = process->group = process->pid;
    spin_unlock(&process_table_lock);
    return leads ? -EPERM : (int64_t)process->pid;
}

static int64_t of_process(uint64_t pid, size_t field) {
    struct process *process = pid ? process_find((unsigned)pid) : process_current();
    if (!process)
        return -ESRCH;
    unsigned value = *(const unsigned *)((const char *)process + field);
    if (pid)
        process_put(process);
    return value;
}

int64_t sys_getpgid(const uint64_t *a) {
    return of_process(a[0], offsetof(struct process, group));
}

int64_t sys_getsid(const uint64_t *a) {
    return of_process(a[0], offsetof(struct process, session));
}
