// SPDX-License-Identifier: BSD-2-Clause
// The system calls about signals.
#include <asm/errno.h>
#include "arch/x86/context.h"
#include "core/mm/user_copy.h"
#include "core/process/job_control.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/signal_frame.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/wait.h"
#include "core/string.h"

#define SIGNAL_COUNT      64
#define UNCATCHABLE       (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))
#define SIGNAL_SET_SIZE   8
#define MINSIGSTKSZ_LEAST 2048

static bool is_signal(uint64_t number) {
    return number >= 1 && number <= SIGNAL_COUNT;
}

int64_t sys_rt_sigaction(const uint64_t *a) {
    struct process *process = process_current();
    struct signal_action new, old;
    if (a[3] != SIGNAL_SET_SIZE || !is_signal(a[0]) || (a[1] && SIGNAL_BIT(a[0]) & UNCATCHABLE))
        return -EINVAL;
    if (a[1] && copy_from_user(&new, a[1], sizeof new))
        return -EFAULT;
    int signal = (int)a[0];
    spin_lock(&process->lock);
    old = process->actions[signal - 1];
    if (a[1]) {
        new.mask &= ~UNCATCHABLE;
        process->actions[signal - 1] = new;
        signal_drop_ignored(process, signal);
    }
    spin_unlock(&process->lock);
    return a[2] ? copy_to_user(a[2], &old, sizeof old) : 0;
}

int64_t sys_rt_sigprocmask(const uint64_t *a) {
    struct signal_state *state = &thread_current()->signals;
    uint64_t old = state->blocked, set;
    if (a[3] != SIGNAL_SET_SIZE)
        return -EINVAL;
    if (a[1]) {
        if (copy_from_user(&set, a[1], sizeof set))
            return -EFAULT;
        if (a[0] > SIG_SETMASK)
            return -EINVAL;
        uint64_t blocked = a[0] == SIG_BLOCK ? old | set : a[0] == SIG_UNBLOCK ? old & ~set : set;
        signal_mask_set(blocked);
    }
    return a[2] ? copy_to_user(a[2], &old, sizeof old) : 0;
}

int64_t sys_rt_sigreturn(const uint64_t *a) {
    struct thread *thread = thread_current();
    if (signal_frame_pop(thread->frame))
        signal_fault(SIGSEGV, SI_KERNEL, thread->frame->rsp);
    return (int64_t)thread->frame->rax;
}

int64_t sys_rt_sigpending(const uint64_t *a) {
    struct thread *thread = thread_current();
    uint64_t pending =
        (thread->signals.pending | thread->process->signals.pending) & thread->signals.blocked;
    return a[1] > SIGNAL_SET_SIZE ? -EINVAL : copy_to_user(a[0], &pending, a[1]);
}

static int64_t wait_for_signal(void) {
    int error = 0;
    while (!error) {
        wait_prepare();
        error = wait(TIME_NEVER);
    }
    return -ERESTARTNOHAND;
}

int64_t sys_pause(const uint64_t *a) {
    return wait_for_signal();
}

int64_t sys_rt_sigsuspend(const uint64_t *a) {
    uint64_t blocked;
    if (a[1] != SIGNAL_SET_SIZE)
        return -EINVAL;
    if (copy_from_user(&blocked, a[0], sizeof blocked))
        return -EFAULT;
    signal_mask_set_temporarily(blocked);
    return wait_for_signal();
}

int64_t sys_rt_sigtimedwait(const uint64_t *a) {
    struct signal_state *state = &thread_current()->signals;
    struct process *process = process_current();
    uint64_t set, deadline;
    struct signal_info info;
    if (a[3] != SIGNAL_SET_SIZE)
        return -EINVAL;
    if (copy_from_user(&set, a[0], sizeof set))
        return -EFAULT;
    int error = time_deadline_load(a[2], false, false, &deadline);
    if (error)
        return error;
    set &= ~UNCATCHABLE;
    bool found;
    __atomic_store_n(&state->waited, set, __ATOMIC_SEQ_CST);
    for (;;) {
        wait_prepare();
        found = signal_dequeue(set, &info);
        if (found || error)
            break;
        error = wait(deadline);
    }
    wait_cancel();
    spin_lock(&process->lock);
    __atomic_store_n(&state->waited, 0, __ATOMIC_SEQ_CST);
    // One that came for this thread meanwhile may be for others now.
    signal_retarget(process, &(struct signal_state){.blocked = ~set});
    spin_unlock(&process->lock);
    if (!found)
        return error == -ETIMEDOUT ? -EAGAIN : -EINTR;
    siginfo_t out;
    signal_info_to_user(&info, &out);
    return a[1] && copy_to_user(a[1], &out, sizeof out) ? -EFAULT : info.signal;
}

int64_t sys_sigaltstack(const uint64_t *a) {
    struct thread *thread = thread_current();
    struct signal_state *state = &thread->signals;
    uint64_t sp = thread->frame->rsp;
    bool inside = !(state->alternate_flags & SS_DISABLE) && sp > state->alternate_stack &&
                  sp - state->alternate_stack <= state->alternate_size;
    stack_t new, old;
    memset(&old, 0, sizeof old); // what pads it goes to user space too
    old.ss_sp = (void *)(uintptr_t)state->alternate_stack;
    old.ss_size = state->alternate_size;
    old.ss_flags = (int)(state->alternate_flags | (inside ? SS_ONSTACK : 0));
    if (a[0]) {
        if (copy_from_user(&new, a[0], sizeof new))
            return -EFAULT;
        unsigned mode = (unsigned)new.ss_flags & 0x7fffffff; // without SS_AUTODISARM
        if (inside)
            return -EPERM;
        if (mode != 0 && mode != SS_DISABLE && mode != SS_ONSTACK)
            return -EINVAL;
        if (mode == SS_DISABLE) {
            state->alternate_stack = state->alternate_size = 0;
        } else {
            if (new.ss_size < MINSIGSTKSZ_LEAST)
                return -ENOMEM;
            state->alternate_stack = (uint64_t)(uintptr_t) new.ss_sp;
            state->alternate_size = new.ss_size;
        }
        state->alternate_flags = (uint32_t) new.ss_flags & ~(uint32_t)SS_ONSTACK;
    }
    return a[1] ? copy_to_user(a[1], &old, sizeof old) : 0;
}

static struct signal_info from_me(int signal, int code) {
    return (struct signal_info){.signal = signal, .code = code, .pid = process_current()->pid};
}

// What sigqueue(3) has written. Nobody may pass for the kernel or for kill(2) but towards itself.
static int load_info(uint64_t address, uint64_t signal, bool self, struct signal_info *info) {
    siginfo_t user;
    if (copy_from_user(&user, address, sizeof user))
        return -EFAULT;
    if (!is_signal(signal) && signal)
        return -EINVAL;
    if ((user.si_code >= 0 || user.si_code == SI_TKILL) && !self)
        return -EPERM;
    *info = (struct signal_info){
        .signal = (int)signal,
        .code = user.si_code,
        .pid = (uint32_t)user.si_pid,
        .uid = user.si_uid,
        .value = (uint64_t)(uintptr_t)user.si_value.sival_ptr,
    };
    return 0;
}

static int64_t send_to_process(unsigned pid, const struct signal_info *info) {
    struct process *process = process_find(pid);
    if (!process)
        return -ESRCH;
    int error = process_may_control(process) ? 0 : -EPERM;
    if (!error && info->signal && !process->zombie)
        error = signal_queue_process(process, info);
    process_put(process);
    return error;
}

int64_t sys_kill(const uint64_t *a) {
    int pid = (int)a[0], signal = (int)a[1];
    if (signal && !is_signal((uint64_t)signal))
        return -EINVAL;
    struct signal_info info = from_me(signal, SI_USER);
    if (pid > 0)
        return send_to_process((unsigned)pid, &info);
    return process_group_signal(pid == -1  ? 0
                                : pid == 0 ? process_current()->group
                                           : -(unsigned)pid,
                                &info);
}

int64_t sys_rt_sigqueueinfo(const uint64_t *a) {
    struct signal_info info;
    int error = load_info(a[2], a[1], (unsigned)a[0] == process_current()->pid, &info);
    return error ? error : send_to_process((unsigned)a[0], &info);
}

static int64_t send_to_thread(int process_id, int tid, const struct signal_info *info) {
    if (tid <= 0)
        return -EINVAL;
    struct thread *thread = thread_find((unsigned)tid);
    if (!thread)
        return -ESRCH;
    int error = 0;
    if (process_id && thread->process->pid != (unsigned)process_id)
        error = -ESRCH;
    else if (!process_may_control(thread->process))
        error = -EPERM;
    else if (info->signal)
        error = signal_queue_thread(thread, info);
    thread_put(thread);
    return error;
}

static int64_t thread_kill(int process_id, int tid, int signal) {
    struct signal_info info = from_me(signal, SI_TKILL);
    return signal && !is_signal((uint64_t)signal) ? -EINVAL
                                                  : send_to_thread(process_id, tid, &info);
}

int64_t sys_tkill(const uint64_t *a) {
    return thread_kill(0, (int)a[0], (int)a[1]);
}

int64_t sys_tgkill(const uint64_t *a) {
    return (int)a[0] <= 0 ? -EINVAL : thread_kill((int)a[0], (int)a[1], (int)a[2]);
}

int64_t sys_rt_tgsigqueueinfo(const uint64_t *a) {
    struct signal_info info;
    int error = load_info(a[3], a[2], (unsigned)a[0] == process_current()->pid, &info);
    if (error)
        return error;
    return (int)a[0] <= 0 ? -EINVAL : send_to_thread((int)a[0], (int)a[1], &info);
}
