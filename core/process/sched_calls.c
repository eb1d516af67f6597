// SPDX-License-Identifier: BSD-2-Clause
// The system calls about scheduling, and membarrier.
#include <asm/errno.h>
#include <linux/membarrier.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/sched/types.h>
#include "arch/x86/cpu.h"
#include "core/mm/address_space.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

int64_t sys_sched_yield(const uint64_t *a) {
    scheduler_yield();
    return 0;
}

// The thread of a tid argument (0: the caller), with a reference; NULL: none.
static struct thread *find(uint64_t tid) {
    if (tid)
        return thread_find((unsigned)tid);
    thread_get(thread_current());
    return thread_current();
}

// The same for a call that changes the thread. NULL with *error: -ESRCH or -EPERM.
static struct thread *find_mine(uint64_t tid, int *error) {
    struct thread *thread = (int)tid < 0 ? NULL : find(tid);
    *error = (int)tid < 0 ? -EINVAL : thread ? 0 : -ESRCH;
    if (thread && !process_may_control(thread->process)) {
        thread_put(thread);
        *error = -EPERM;
        return NULL;
    }
    return thread;
}

int64_t sys_sched_getaffinity(const uint64_t *a) {
    uint64_t online[CPU_MAX / 64];
    struct thread *thread = find(a[0]);
    if (!thread)
        return -ESRCH;
    scheduler_online(online);
    for (unsigned word = 0; word < CPU_MAX / 64; word++)
        online[word] &= thread->entity.allowed[word];
    thread_put(thread);
    // As Linux: as many bytes as its mask has, rounded to words; too small a buffer is refused.
    uint64_t bytes = (cpu_count() + 63) / 64 * 8;
    if (a[1] < bytes || a[1] % 8)
        return -EINVAL;
    return copy_to_user(a[2], online, bytes) ? -EFAULT : (int64_t)bytes;
}

// To be interrupted is a barrier by itself, and what asked for a reschedule has it after that.
static void barrier(void *argument) {
    atomic_thread_fence(memory_order_seq_cst);
}

// Waits until the thread has left a CPU that is not in the mask: its program may rely on that.
static void wait_until_gone(const struct thread *thread, const uint64_t mask[CPU_MAX / 64]) {
    unsigned cpu = thread->entity.cpu;
    uint64_t cpus[CPU_MAX / 64] = {0};
    cpus[cpu / 64] = 1ull << cpu % 64;
    if (thread != thread_current() && atomic_load(&thread->state) == THREAD_RUNNING &&
        !(mask[cpu / 64] & cpus[cpu / 64]))
        cpu_call(cpus, barrier, NULL);
}

int64_t sys_sched_setaffinity(const uint64_t *a) {
    uint64_t mask[CPU_MAX / 64] = {0};
    int error;
    if (copy_from_user(mask, a[2], a[1] < sizeof mask ? a[1] : sizeof mask))
        return -EFAULT;
    struct thread *thread = find_mine(a[0], &error);
    if (!thread)
        return error;
    error = scheduler_set_affinity(thread, mask);
    if (!error)
        wait_until_gone(thread, mask);
    thread_put(thread);
    if (thread_must_yield()) // the caller goes on on a CPU of the mask
        schedule();
    return error;
}

// What a program may not give itself: more than its limits say (RLIMIT_RTPRIO, RLIMIT_NICE).
static int check_limits(const struct thread *thread, const struct run_policy *policy) {
    const struct rlimit_value *limits = process_current()->limits;
    bool fixed = policy->policy == SCHED_FIFO || policy->policy == SCHED_RR;
    uint64_t most = limits[RLIMIT_RTPRIO].soft;
    if (fixed && policy->priority > most && policy->priority > thread->entity.policy.priority)
        return -EPERM;
    if (policy->policy == SCHED_DEADLINE && !most)
        return -EPERM;
    bool sooner = policy->nice < thread->entity.policy.nice;
    return sooner && (uint64_t)(20 - policy->nice) > limits[RLIMIT_NICE].soft ? -EPERM : 0;
}

static int set_policy(uint64_t tid, const struct run_policy *policy, bool reset_on_fork) {
    int error;
    struct thread *thread = find_mine(tid, &error);
    if (!thread)
        return error;
    error = run_policy_check(policy);
    if (!error)
        error = check_limits(thread, policy);
    if (!error)
        error = scheduler_set_policy(thread, policy);
    if (!error)
        thread->reset_on_fork = reset_on_fork;
    thread_put(thread);
    return error;
}

// The policy a thread has now. 0, -EINVAL, -ESRCH.
static int get_policy(uint64_t tid, struct run_policy *policy, bool *reset_on_fork) {
    struct thread *thread = (int)tid < 0 ? NULL : find(tid);
    if (!thread)
        return (int)tid < 0 ? -EINVAL : -ESRCH;
    *policy = thread->entity.policy;
    *reset_on_fork = thread->reset_on_fork;
    thread_put(thread);
    return 0;
}

static int64_t set_scheduler(uint64_t tid, int policy, uint64_t param) {
    struct run_policy now;
    bool reset;
    int32_t priority;
    if (!param || (int)tid < 0)
        return -EINVAL;
    if (copy_from_user(&priority, param, sizeof priority))
        return -EFAULT;
    int error = get_policy(tid, &now, &reset);
    if (error)
        return error;
    if (policy >= 0) {
        reset = policy & SCHED_RESET_ON_FORK;
        now.policy = (uint32_t)policy & ~(uint32_t)SCHED_RESET_ON_FORK;
        now.runtime = now.deadline = now.period = 0;
        if (now.policy == SCHED_DEADLINE) // sched_setattr alone can say what it needs
            return -EINVAL;
    }
    now.priority = (uint32_t)priority;
    return set_policy(tid, &now, reset);
}

int64_t sys_sched_setscheduler(const uint64_t *a) {
    return (int)a[1] < 0 ? -EINVAL : set_scheduler(a[0], (int)a[1], a[2]);
}

int64_t sys_sched_setparam(const uint64_t *a) {
    return set_scheduler(a[0], -1, a[1]);
}

int64_t sys_sched_getparam(const uint64_t *a) {
    struct run_policy policy;
    bool reset;
    int error = a[1] ? get_policy(a[0], &policy, &reset) : -EINVAL;
    return error ? error : copy_to_user(a[1], &policy.priority, sizeof policy.priority);
}

int64_t sys_sched_getscheduler(const uint64_t *a) {
    struct run_policy policy;
    bool reset;
    int error = get_policy(a[0], &policy, &reset);
    return error ? error : (int)policy.policy | (reset ? SCHED_RESET_ON_FORK : 0);
}

// sched_setattr(2): a size we do not know is refused unless what we do not know of it is zero.
static int load_attributes(uint64_t address, struct sched_attr *attributes) {
    uint32_t size;
    if (copy_from_user(&size, address, sizeof size))
        return -EFAULT;
    if (!size)
        size = SCHED_ATTR_SIZE_VER0;
    int error = size < SCHED_ATTR_SIZE_VER0
                    ? -E2BIG
                    : copy_struct_from_user(attributes, sizeof *attributes, address, size);
    size = sizeof *attributes;
    return error == -E2BIG && copy_to_user(address, &size, sizeof size) ? -EFAULT : error;
}

int64_t sys_sched_setattr(const uint64_t *a) {
    struct sched_attr attributes;
    struct run_policy policy;
    bool reset;
    if (!a[1] || (int)a[0] < 0 || a[2])
        return -EINVAL;
    int error = load_attributes(a[1], &attributes);
    if (!error)
        error = get_policy(a[0], &policy, &reset);
    if (error)
        return error;
    uint64_t flags = attributes.sched_flags;
    if (flags & SCHED_FLAG_UTIL_CLAMP)
        return -EOPNOTSUPP;
    if (flags & ~(uint64_t)(SCHED_FLAG_RESET_ON_FORK | SCHED_FLAG_KEEP_ALL))
        return -EINVAL;
    if (!(flags & SCHED_FLAG_KEEP_POLICY))
        policy.policy = attributes.sched_policy;
    if (!(flags & SCHED_FLAG_KEEP_PARAMS)) {
        bool fair = policy.policy == SCHED_NORMAL || policy.policy == SCHED_BATCH;
        int nice = attributes.sched_nice;
        policy.nice = !fair ? policy.nice : nice < -20 ? -20 : nice > 19 ? 19 : nice;
        policy.priority = attributes.sched_priority;
        policy.runtime = attributes.sched_runtime;
        policy.deadline = attributes.sched_deadline;
        policy.period = attributes.sched_period;
        if (policy.policy == SCHED_DEADLINE && !policy.period)
            policy.period = policy.deadline;
    }
    return set_policy(a[0], &policy, flags & SCHED_FLAG_RESET_ON_FORK);
}

int64_t sys_sched_getattr(const uint64_t *a) {
    struct run_policy policy;
    bool reset;
    uint32_t size = (uint32_t)a[2];
    if (!a[1] || size < SCHED_ATTR_SIZE_VER0 || size > PAGE_SIZE || a[3])
        return -EINVAL;
    int error = get_policy(a[0], &policy, &reset);
    if (error)
        return error;
    if (size > sizeof(struct sched_attr))
        size = sizeof(struct sched_attr);
    struct sched_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.size = size;
    attributes.sched_policy = policy.policy;
    attributes.sched_flags = reset ? SCHED_FLAG_RESET_ON_FORK : 0;
    attributes.sched_nice = policy.nice;
    attributes.sched_priority = policy.priority;
    attributes.sched_runtime = policy.runtime;
    attributes.sched_deadline = policy.deadline;
    attributes.sched_period = policy.period;
    return copy_to_user(a[1], &attributes, size);
}

int64_t sys_sched_rr_get_interval(const uint64_t *a) {
    struct run_policy policy;
    struct __kernel_timespec time;
    bool reset;
    int error = get_policy(a[0], &policy, &reset);
    if (error)
        return error;
    bool sliced = policy.policy != SCHED_FIFO && policy.policy != SCHED_DEADLINE;
    uint64_t slice =
        policy.runtime && policy.policy != SCHED_RR ? policy.runtime : RUN_SLICE_DEFAULT;
    time_spec_from_ns(&time, sliced ? slice : 0);
    return copy_to_user(a[1], &time, sizeof time);
}

// The least and the highest priority of a policy; -EINVAL: no such policy.
static int64_t priority_bound(uint64_t policy, int fixed) {
    switch ((int)policy) {
    case SCHED_FIFO:
    case SCHED_RR:
        return fixed;
    case SCHED_NORMAL:
    case SCHED_BATCH:
    case SCHED_IDLE:
    case SCHED_DEADLINE:
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t sys_sched_get_priority_max(const uint64_t *a) {
    return priority_bound(a[0], 99);
}

int64_t sys_sched_get_priority_min(const uint64_t *a) {
    return priority_bound(a[0], 1);
}

// getpriority(2) and setpriority(2) of one thread or of all that the caller may control.
struct nice_request {
    int nice;
    unsigned group; // of processes; 0: any
    bool set;
    bool found;
    int result; // the lowest nice, or an error
};

static void nice_one(struct thread *thread, struct nice_request *request) {
    struct run_policy policy = thread->entity.policy;
    request->found = true;
    if (!request->set) {
        request->result = policy.nice < request->result ? policy.nice : request->result;
        return;
    }
    policy.nice = request->nice;
    int error = check_limits(thread, &policy);
    if (!error)
        error = scheduler_set_policy(thread, &policy);
    if (error)
        request->result = error == -EPERM ? -EACCES : error;
}

static void nice_process(struct process *process, void *argument) {
    const struct nice_request *request = argument;
    if (process->zombie || !process_may_control(process) ||
        (request->group && process->group != request->group))
        return;
    spin_lock(&process->lock);
    list_for_each(node, &process->threads)
        nice_one(container_of(node, struct thread, process_node), argument);
    spin_unlock(&process->lock);
}

static int nice_call(const uint64_t *a, struct nice_request *request) {
    int error = 0;
    switch ((int)a[0]) {
    case PRIO_PROCESS: {
        struct thread *thread = request->set ? find_mine(a[1], &error) : find(a[1]);
        if (!thread)
            return error ? error : -ESRCH;
        nice_one(thread, request);
        thread_put(thread);
        return 0;
    }
    case PRIO_PGRP:
        request->group = a[1] ? (unsigned)a[1] : process_current()->group;
        process_for_each(nice_process, request);
        return request->found ? 0 : -ESRCH;
    case PRIO_USER: // everything runs as root
        if (!a[1])
            process_for_each(nice_process, request);
        return request->found ? 0 : -ESRCH;
    default:
        return -EINVAL;
    }
}

int64_t sys_getpriority(const uint64_t *a) {
    struct nice_request request = {.result = 19};
    int error = nice_call(a, &request);
    return error ? error : 20 - request.result;
}

int64_t sys_setpriority(const uint64_t *a) {
    int nice = (int)a[2];
    struct nice_request request = {.nice = nice < -20 ? -20 : nice > 19 ? 19 : nice, .set = true};
    int error = nice_call(a, &request);
    return error ? error : request.result;
}

// -- core scheduling --

struct cookie_request {
    uint64_t cookie;
    unsigned group; // of processes
    bool set;       // else only whether the caller may is looked at
    bool refused;
};

static void give_cookie(struct process *process, uint64_t cookie) {
    spin_lock(&process->lock);
    list_for_each(node, &process->threads)
        scheduler_set_cookie(container_of(node, struct thread, process_node), cookie);
    spin_unlock(&process->lock);
}

static void visit_for_cookie(struct process *process, void *argument) {
    struct cookie_request *request = argument;
    if (process->group != request->group)
        return;
    request->refused |= !process_may_control(process);
    if (request->set)
        give_cookie(process, request->cookie);
}

static int give_cookie_to(struct thread *thread, uint64_t scope, uint64_t cookie) {
    struct cookie_request request = {.cookie = cookie, .group = thread->process->group};
    if (scope == PR_SCHED_CORE_SCOPE_THREAD)
        scheduler_set_cookie(thread, cookie);
    else if (scope == PR_SCHED_CORE_SCOPE_THREAD_GROUP)
        give_cookie(thread->process, cookie);
    else
        process_for_each(visit_for_cookie, &request);
    if (request.refused)
        return -EPERM;
    request.set = true;
    if (scope == PR_SCHED_CORE_SCOPE_PROCESS_GROUP)
        process_for_each(visit_for_cookie, &request);
    return 0;
}

int core_scheduling_control(const uint64_t *a) {
    uint64_t command = a[1], scope = a[3];
    int error;
    if (!cpu_thread_bits())
        return -ENODEV;
    if (scope > PR_SCHED_CORE_SCOPE_PROCESS_GROUP || command >= PR_SCHED_CORE_MAX ||
        (command == PR_SCHED_CORE_GET ? a[4] % 8 : a[4]) ||
        (scope && (command == PR_SCHED_CORE_GET || command == PR_SCHED_CORE_SHARE_FROM)))
        return -EINVAL;
    struct thread *thread = find_mine(a[2], &error);
    if (!thread)
        return error;
    if (command == PR_SCHED_CORE_GET)
        error = copy_to_user(a[4], &thread->entity.cookie, sizeof thread->entity.cookie);
    else if (command == PR_SCHED_CORE_CREATE)
        error = give_cookie_to(thread, scope, scheduler_new_cookie());
    else if (command == PR_SCHED_CORE_SHARE_TO)
        error = give_cookie_to(thread, scope, thread_current()->entity.cookie);
    else
        scheduler_set_cookie(thread_current(), thread->entity.cookie);
    thread_put(thread);
    if (thread_must_yield()) // the caller goes on beside its own only
        schedule();
    return error;
}

int64_t sys_getcpu(const uint64_t *a) {
    uint32_t cpu = this_cpu()->index, node = this_cpu()->node;
    if (a[0] && copy_to_user(a[0], &cpu, sizeof cpu))
        return -EFAULT;
    return a[1] ? copy_to_user(a[1], &node, sizeof node) : 0;
}

int64_t sys_membarrier(const uint64_t *a) {
    uint64_t cpus[CPU_MAX / 64];
    if (a[1])
        return -EINVAL;
    switch ((int)a[0]) {
    case MEMBARRIER_CMD_QUERY:
        return MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_PRIVATE_EXPEDITED |
               MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
        return 0;
    case MEMBARRIER_CMD_GLOBAL:
        scheduler_online(cpus);
        break;
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
        for (unsigned word = 0; word < CPU_MAX / 64; word++)
            cpus[word] = atomic_load(&process_current()->space->cpus[word]);
        break;
    default:
        return -EINVAL;
    }
    cpu_call(cpus, barrier, NULL);
    return 0;
}
