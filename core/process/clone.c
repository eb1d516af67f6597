// SPDX-License-Identifier: BSD-2-Clause
// clone(2), clone3(2), fork(2), vfork(2): threads, and processes with a copy of the address space
// or that share it until they exec.
#include <asm/errno.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/sched.h>
#include <stddef.h>
#include "arch/x86/context.h"
#include "core/file/fd_table.h"
#include "core/file/landlock.h"
#include "core/mm/address_space.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/system_call.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

#define KNOWN_FLAGS                                                                                \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_VFORK | CLONE_THREAD |              \
     CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_DETACHED |  \
     CLONE_CHILD_SETTID | CLONE_IO | CLONE_PARENT | CLONE_CLEAR_SIGHAND)

struct clone_request {
    uint64_t flags; // CSIGNAL taken out
    uint64_t stack; // the new stack pointer; 0: as the parent's
    uint64_t tls, parent_tid, child_tid;
    unsigned exit_signal;
};

static int check(const struct clone_request *request) {
    uint64_t flags = request->flags;
    if (flags & ~(uint64_t)KNOWN_FLAGS || request->exit_signal > 64)
        return -EINVAL;
    if ((flags & CLONE_THREAD && !(flags & CLONE_SIGHAND)) ||
        (flags & CLONE_SIGHAND && !(flags & CLONE_VM)) ||
        (flags & CLONE_SIGHAND && flags & CLONE_CLEAR_SIGHAND))
        return -EINVAL;
    // Separate processes have their own signal actions here.
    if (flags & CLONE_SIGHAND && !(flags & CLONE_THREAD))
        return -ENOSYS;
    if (flags & CLONE_SETTLS && request->tls >= USER_END)
        return -EPERM;
    return 0;
}

static void drop_process(struct process *child) {
    if (child->files)
        fd_table_put(child->files);
    if (child->space)
        address_space_put(child->space);
    process_put(child);
}

static struct process *new_process(const struct clone_request *request) {
    struct process *parent = process_current(), *child = process_create(parent);
    if (!child)
        return NULL;
    bool shares_files = request->flags & CLONE_FILES, shares_space = request->flags & CLONE_VM;
    child->files = shares_files ? parent->files : fd_table_clone(parent->files);
    if (shares_files)
        fd_table_get(child->files);
    child->space = shares_space ? parent->space : address_space_fork(parent->space);
    if (shares_space)
        address_space_get(child->space);
    if (!child->files || !child->space) {
        drop_process(child);
        return NULL;
    }
    child->shares_space = true;
    child->exit_signal = request->exit_signal;
    if (!(request->flags & CLONE_CLEAR_SIGHAND)) {
        spin_lock(&parent->lock);
        memcpy(child->actions, parent->actions, sizeof child->actions);
        spin_unlock(&parent->lock);
    }
    return child;
}

static struct thread *new_thread(const struct clone_request *request) {
    struct thread *parent = thread_current(), *child = thread_create();
    if (!child)
        return NULL;
    *child->frame = *parent->frame;
    child->frame->rax = 0;
    child->frame->vector = TRAP_FRAME_FULL;
    if (request->stack)
        child->frame->rsp = request->stack;
    child->fs_base = request->flags & CLONE_SETTLS ? request->tls : context_fs_base();
    child->gs_base = context_gs_base();
    fpu_switch(parent->fpu, NULL); // the registers as they are now, for the copy
    memcpy(child->user_fpu.area, parent->user_fpu.area, fpu_area_size());
    child->signals.blocked = parent->signals.blocked;
    if (request->flags & CLONE_VFORK || !(request->flags & CLONE_VM)) {
        child->signals.alternate_stack = parent->signals.alternate_stack;
        child->signals.alternate_size = parent->signals.alternate_size;
        child->signals.alternate_flags = parent->signals.alternate_flags;
    }
    if (!(request->flags & CLONE_VM)) {
        child->rseq = parent->rseq;
        child->rseq_signature = parent->rseq_signature;
        child->rseq_cpu = parent->rseq_cpu;
    }
    memcpy(child->affinity, parent->affinity, sizeof child->affinity);
    memcpy(child->name, parent->name, sizeof child->name);
    if (parent->entity.policy.policy != SCHED_DEADLINE)
        memcpy(child->entity.allowed, parent->entity.allowed, sizeof child->entity.allowed);
    struct run_policy policy = parent->entity.policy;
    if (policy.policy == SCHED_DEADLINE || // a reservation is one thread's alone
        (parent->reset_on_fork && (policy.priority || policy.nice < 0)))
        policy = (struct run_policy){.policy = SCHED_NORMAL};
    run_entity_set_policy(&child->entity, &policy);
    child->landlock = landlock_get(parent->landlock);
    child->entity.cookie = scheduler_child_cookie(!(request->flags & CLONE_THREAD));
    if (request->flags & CLONE_CHILD_CLEARTID)
        child->clear_child_tid = request->child_tid;
    return child;
}

// The first thing a new thread does.
static void child_entry(void *argument) {
    uint64_t set_tid = (uint64_t)(uintptr_t)argument;
    struct thread *thread = thread_current();
    uint32_t tid = thread->tid;
    if (set_tid)
        copy_to_user(set_tid, &tid, sizeof tid); // as Linux: a bad address is the child's problem
    user_return(thread->frame);
    context_return_to_user();
}

static void join_family(struct process *child, bool as_sibling) {
    struct process *parent = process_current();
    spin_lock(&process_table_lock);
    if (as_sibling && parent->parent)
        parent = parent->parent;
    child->parent = parent;
    list_push_back(&parent->children, &child->sibling);
    spin_unlock(&process_table_lock);
}

static bool has_own_space(void *child) {
    return !__atomic_load_n(&((struct process *)child)->shares_space, __ATOMIC_SEQ_CST);
}

static int64_t clone(const struct clone_request *request) {
    bool is_thread = request->flags & CLONE_THREAD;
    int error = check(request);
    if (error)
        return error;
    struct process *process = is_thread ? process_current() : new_process(request);
    if (!process)
        return -ENOMEM;
    struct thread *thread = new_thread(request);
    error = thread ? process_add_thread(process, thread) : -ENOMEM;
    if (error) {
        if (thread)
            thread_put(thread);
        if (!is_thread)
            drop_process(process);
        return error;
    }
    uint32_t tid = thread->tid;
    if (request->flags & CLONE_PARENT_SETTID)
        copy_to_user(request->parent_tid, &tid, sizeof tid);
    if (!is_thread) {
        process_get(process); // it may end before we are done with it
        join_family(process, request->flags & CLONE_PARENT);
    }
    uint64_t set_tid = request->flags & CLONE_CHILD_SETTID ? request->child_tid : 0;
    thread_start(thread, child_entry, (void *)(uintptr_t)set_tid);
    if (!is_thread) {
        if (request->flags & CLONE_VFORK)
            wait_until(&process->vfork_done, has_own_space, process, TIME_NEVER,
                       wait_uninterruptible);
        process_put(process);
    }
    return tid;
}

int64_t sys_clone(const uint64_t *a) {
    struct clone_request request = {
        .flags = (uint32_t)a[0] & ~(uint64_t)CSIGNAL,
        .stack = a[1],
        .parent_tid = a[2],
        .child_tid = a[3],
        .tls = a[4],
        .exit_signal = a[0] & CSIGNAL,
    };
    return clone(&request);
}

int64_t sys_fork(const uint64_t *a) {
    struct clone_request request = {.exit_signal = SIGCHLD};
    return clone(&request);
}

int64_t sys_vfork(const uint64_t *a) {
    struct clone_request request = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};
    return clone(&request);
}

int64_t sys_clone3(const uint64_t *a) {
    struct clone_args arguments;
    if (a[1] < CLONE_ARGS_SIZE_VER0)
        return -EINVAL;
    int error = copy_struct_from_user(&arguments, sizeof arguments, a[0], a[1]);
    if (error)
        return error;
    if (arguments.set_tid_size || arguments.cgroup || arguments.flags & CSIGNAL ||
        !arguments.stack != !arguments.stack_size || arguments.exit_signal > 64 ||
        (arguments.flags & CLONE_THREAD && arguments.exit_signal))
        return -EINVAL;
    struct clone_request request = {
        .flags = arguments.flags,
        .stack = arguments.stack + arguments.stack_size,
        .parent_tid = arguments.parent_tid,
        .child_tid = arguments.child_tid,
        .tls = arguments.tls,
        .exit_signal = (unsigned)arguments.exit_signal,
    };
    return clone(&request);
}
