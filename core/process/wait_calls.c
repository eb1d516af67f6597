// SPDX-License-Identifier: BSD-2-Clause
// wait4(2), waitid(2), and how a child's end looks.
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <linux/resource.h>
#include <linux/wait.h>
#include <stddef.h>
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/process/wait_status.h"
#include "core/sched/wait.h"
#include "core/string.h"

struct signal_info wait_status_info(const struct process *process, unsigned signal) {
    int by_signal = process->exit_status & 0x7f;
    return (struct signal_info){
        .signal = (int)signal,
        .code = by_signal ? CLD_KILLED : CLD_EXITED,
        .pid = process->pid,
        .status = by_signal ? by_signal : process->exit_status >> 8 & 0xff,
        .run_time = process->run_time,
    };
}

// What a caller waits for.
struct wait_request {
    unsigned pid; // 0: any child
    bool no_hang, leave;
};

struct wait_result {
    struct signal_info info;
    unsigned pid; // 0: none yet
    int status;
    uint64_t run_time;
};

// Looks through the children once. 0 (result->pid 0: none ready), or -ECHILD.
static int look(struct process *parent, const struct wait_request *request,
                struct wait_result *result) {
    struct process *found = NULL;
    bool candidates = false;
    spin_lock(&process_table_lock);
    list_for_each(node, &parent->children) {
        struct process *child = container_of(node, struct process, sibling);
        if (request->pid && child->pid != request->pid)
            continue;
        candidates = true;
        if (child->zombie) {
            found = child;
            break;
        }
    }
    result->pid = 0;
    if (found) {
        result->pid = found->pid;
        result->status = found->exit_status;
        result->run_time = found->run_time + found->children_run_time;
        result->info = wait_status_info(found, SIGCHLD);
        if (!request->leave) {
            parent->children_run_time += result->run_time;
            list_remove(&found->sibling);
            process_table_remove_process(found);
        }
    }
    spin_unlock(&process_table_lock);
    if (found && !request->leave)
        process_put(found);
    return candidates ? 0 : -ECHILD;
}

static int wait_for_child(const struct wait_request *request, struct wait_result *result) {
    struct process *parent = process_current();
    struct waiter waiter;
    waiter_init(&waiter);
    int error = 0;
    while (!error) {
        waiter_add(&waiter, &parent->child_exited);
        error = look(parent, request, result);
        if (error || result->pid || request->no_hang) {
            wait_cancel();
            break;
        }
        error = wait(TIME_NEVER);
        if (error)
            error = -ERESTARTSYS;
    }
    waiter_remove(&waiter);
    return error;
}

static int store_usage(uint64_t pointer, uint64_t run_time) {
    struct rusage usage;
    memset(&usage, 0, sizeof usage);
    usage.ru_utime.tv_sec = (__kernel_old_time_t)(run_time / NS_PER_SECOND);
    usage.ru_utime.tv_usec = (__kernel_suseconds_t)(run_time % NS_PER_SECOND / 1000);
    return pointer ? copy_to_user(pointer, &usage, sizeof usage) : 0;
}

int64_t sys_wait4(const uint64_t *a) {
    int pid = (int)a[0];
    struct wait_result result;
    if (a[2] & ~(uint64_t)(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
        return -EINVAL;
    // Each process is a group of its own: 0 and our own group can only mean children, as -1 does.
    struct wait_request request = {.pid = pid > 0    ? (unsigned)pid
                                          : pid < -1 ? (unsigned)-pid
                                                     : 0,
                                   .no_hang = a[2] & WNOHANG};
    int error = wait_for_child(&request, &result);
    if (error || !result.pid)
        return error;
    if (a[1] && copy_to_user(a[1], &result.status, sizeof result.status))
        return -EFAULT;
    return store_usage(a[3], result.run_time) ? -EFAULT : (int64_t)result.pid;
}

int64_t sys_waitid(const uint64_t *a) {
    struct wait_result result;
    if (a[3] & ~(uint64_t)(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD |
                           __WCLONE | __WALL) ||
        !(a[3] & (WEXITED | WSTOPPED | WCONTINUED)))
        return -EINVAL;
    if (a[0] != P_ALL && a[0] != P_PID && a[0] != P_PGID)
        return -EINVAL;
    if (a[0] == P_PID && (int)a[1] <= 0)
        return -EINVAL;
    struct wait_request request = {.pid = a[0] == P_ALL ? 0 : (unsigned)a[1],
                                   .no_hang = a[3] & WNOHANG,
                                   .leave = a[3] & WNOWAIT};
    int error = wait_for_child(&request, &result);
    if (error)
        return error;
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (result.pid)
        signal_info_to_user(&result.info, &info);
    if (a[2] && copy_to_user(a[2], &info, sizeof info))
        return -EFAULT;
    return store_usage(a[4], result.pid ? result.run_time : 0);
}

int64_t sys_getrusage(const uint64_t *a) {
    struct process *process = process_current();
    uint64_t time;
    switch ((int)a[0]) {
    case RUSAGE_SELF:
        spin_lock(&process->lock);
        time = process->run_time;
        list_for_each(node, &process->threads) time +=
            thread_run_time(container_of(node, struct thread, process_node));
        spin_unlock(&process->lock);
        break;
    case RUSAGE_CHILDREN:
        time = process->children_run_time;
        break;
    case RUSAGE_THREAD:
        time = thread_run_time(thread_current());
        break;
    default:
        return -EINVAL;
    }
    return a[1] ? store_usage(a[1], time) : -EFAULT;
}
