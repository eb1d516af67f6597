// SPDX-License-Identifier: BSD-2-Clause
// wait4(2), waitid(2), and how a child's end looks.
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
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
    unsigned pid, group; // 0: any
    bool exited, stopped, continued;
    bool no_hang, leave;
};

struct wait_result {
    struct signal_info info;
    unsigned pid; // 0: none yet
    int status;
    uint64_t run_time;
};

static bool wanted(const struct wait_request *request, const struct process *child) {
    return (!request->pid || child->pid == request->pid) &&
           (!request->group || child->group == request->group);
}

// What there is to tell of a child that lives. Its lock is held by tellers; a late look is as good.
static bool take_change(const struct wait_request *request, struct process *child,
                        struct wait_result *result) {
    int signal = request->stopped ? child->stop_reported : 0;
    bool continued = !signal && request->continued && child->continue_reported;
    if (!signal && !continued)
        return false;
    *result = (struct wait_result){
        .pid = child->pid,
        .status = continued ? 0xffff : signal << 8 | 0x7f,
        .info = {.signal = SIGCHLD,
                 .code = continued ? CLD_CONTINUED : CLD_STOPPED,
                 .pid = child->pid,
                 .status = continued ? SIGCONT : signal},
    };
    if (!request->leave && continued)
        child->continue_reported = false;
    else if (!request->leave)
        child->stop_reported = 0;
    return true;
}

static void take_zombie(struct process *child, struct wait_result *result) {
    result->pid = child->pid;
    result->status = child->exit_status;
    result->run_time = child->run_time + child->children_run_time;
    result->info = wait_status_info(child, SIGCHLD);
}

// Looks through the children once. 0 (result->pid 0: none ready), or -ECHILD.
static int look(const struct wait_request *request, struct wait_result *result) {
    struct process *parent = process_current(), *ended = NULL;
    bool candidates = false;
    result->pid = 0;
    spin_lock(&process_table_lock);
    list_for_each_entry(struct process, child, &parent->children, sibling) {
        if (!wanted(request, child))
            continue;
        candidates = true;
        if (child->zombie && request->exited)
            ended = child;
        if (ended || (!child->zombie && take_change(request, child, result)))
            break;
    }
    if (ended) {
        take_zombie(ended, result);
        if (!request->leave) {
            parent->children_run_time += result->run_time;
            list_remove(&ended->sibling);
            process_table_remove_process(ended);
        }
    }
    spin_unlock(&process_table_lock);
    if (ended && !request->leave)
        process_put(ended);
    return candidates ? 0 : -ECHILD;
}

struct child_wait {
    const struct wait_request *request;
    struct wait_result *result;
    int error;
};

static bool is_over(void *argument) {
    struct child_wait *waits = argument;
    waits->error = look(waits->request, waits->result);
    return waits->error || waits->result->pid || waits->request->no_hang;
}

static int wait_for_child(const struct wait_request *request, struct wait_result *result) {
    struct child_wait waits = {request, result, 0};
    int interrupted =
        wait_until(&process_current()->child_exited, is_over, &waits, TIME_NEVER, wait);
    return interrupted ? -ERESTARTSYS : waits.error;
}

static int store_usage(uint64_t pointer, uint64_t run_time) {
    struct rusage usage;
    memset(&usage, 0, sizeof usage);
    struct time_value time = time_value_from_ns(run_time);
    memcpy(&usage.ru_utime, &time, sizeof time);
    return pointer ? copy_to_user(pointer, &usage, sizeof usage) : 0;
}

int64_t sys_wait4(const uint64_t *a) {
    int pid = (int)a[0];
    struct wait_result result = {0};
    if (a[2] & ~(uint64_t)(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
        return -EINVAL;
    struct wait_request request = {
        .pid = pid > 0 ? (unsigned)pid : 0,
        .group = pid == 0   ? process_current()->group
                 : pid < -1 ? -(unsigned)pid
                            : 0,
        .exited = true,
        .stopped = a[2] & WUNTRACED,
        .continued = a[2] & WCONTINUED,
        .no_hang = a[2] & WNOHANG,
    };
    int error = wait_for_child(&request, &result);
    if (error || !result.pid)
        return error;
    if (a[1] && copy_to_user(a[1], &result.status, sizeof result.status))
        return -EFAULT;
    return store_usage(a[3], result.run_time) ? -EFAULT : (int64_t)result.pid;
}

int64_t sys_waitid(const uint64_t *a) {
    struct wait_result result = {0};
    if (a[3] & ~(uint64_t)(WNOHANG | WNOWAIT | WEXITED | WSTOPPED | WCONTINUED | __WNOTHREAD |
                           __WCLONE | __WALL) ||
        !(a[3] & (WEXITED | WSTOPPED | WCONTINUED)))
        return -EINVAL;
    if (a[0] != P_ALL && a[0] != P_PID && a[0] != P_PGID)
        return -EINVAL;
    if (a[0] == P_PID && (int)a[1] <= 0)
        return -EINVAL;
    unsigned self = process_current()->group;
    struct wait_request request = {
        .pid = a[0] == P_PID ? (unsigned)a[1] : 0,
        .group = a[0] != P_PGID ? 0
                 : a[1]         ? (unsigned)a[1]
                                : self,
        .exited = a[3] & WEXITED,
        .stopped = a[3] & WSTOPPED,
        .continued = a[3] & WCONTINUED,
        .no_hang = a[3] & WNOHANG,
        .leave = a[3] & WNOWAIT,
    };
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
        time = process_run_time(process);
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
