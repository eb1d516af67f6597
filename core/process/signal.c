// SPDX-License-Identifier: BSD-2-Clause
// Signals at the border to user mode: delivery, default actions, masks, faults, restarted system
// calls.
#include <asm/errno.h>
#include "arch/x86/context.h"
#include "core/log.h"
#include "core/process/job_control.h"
#include "core/process/process.h"
#include "core/process/rseq.h"
#include "core/process/signal_frame.h"
#include "core/process/signal_queue.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

#define NEVER_BLOCKED       (SIGNAL_BIT(SIGKILL) | SIGNAL_BIT(SIGSTOP))
#define SYSCALL_INSTRUCTION 2 // bytes of SYSCALL

void signal_mask_set(uint64_t blocked) {
    struct thread *thread = thread_current();
    struct process *process = thread->process;
    blocked &= ~NEVER_BLOCKED;
    spin_lock(&process->lock);
    uint64_t newly = blocked & ~thread->signals.blocked;
    thread->signals.blocked = blocked;
    if (newly & process->signals.pending) {
        // Another thread may have left these to this one.
        struct signal_state before = {.blocked = ~newly};
        signal_retarget(process, &before);
    }
    spin_unlock(&process->lock);
    if (signal_deliverable(thread))
        atomic_fetch_or(&thread->work, THREAD_WORK_SIGNAL);
}

void signal_mask_set_temporarily(uint64_t blocked) {
    struct thread *thread = thread_current();
    if (!thread->signals.restore_blocked)
        thread->signals.saved_blocked = thread->signals.blocked;
    thread->signals.restore_blocked = true;
    signal_mask_set(blocked);
    atomic_fetch_or(&thread->work,
                    THREAD_WORK_SIGNAL); // so that user_return puts the old mask back
}

void signal_fault(int signal, int code, uint64_t address) {
    struct thread *thread = thread_current();
    struct process *process = thread->process;
    struct signal_info info = {.signal = signal, .code = code, .value = address};
    struct signal_action *action = &process->actions[signal - 1];
    spin_lock(&process->lock);
    bool blocked = thread->signals.blocked & SIGNAL_BIT(signal);
    bool handled = action->handler != (uint64_t)(uintptr_t)SIG_DFL &&
                   action->handler != (uint64_t)(uintptr_t)SIG_IGN;
    if (blocked || !handled) {
        action->handler = (uint64_t)(uintptr_t)SIG_DFL;
        thread->signals.blocked &= ~SIGNAL_BIT(signal);
    }
    spin_unlock(&process->lock);
    if (blocked || !handled) {
        log_line("%s[%u]: %s (code %d) at address 0x%lx, rip 0x%lx, rsp 0x%lx", process->name,
                 thread->tid, signal_name(signal), code, address, thread->frame->rip,
                 thread->frame->rsp);
        process_begin_exit(process, signal);
        return;
    }
    signal_queue_thread(thread, &info);
}

enum restart { RESTART_NONE, RESTART_ALWAYS, RESTART_IF_ASKED, RESTART_WITHOUT_HANDLER };

static enum restart restart_kind(const struct thread *thread) {
    if (!thread->restart)
        return RESTART_NONE;
    switch (-(int64_t)thread->frame->rax) {
    case ERESTARTSYS:
        return RESTART_IF_ASKED;
    case ERESTARTNOINTR:
        return RESTART_ALWAYS;
    case ERESTARTNOHAND:
        return RESTART_WITHOUT_HANDLER;
    default:
        return RESTART_NONE;
    }
}

static void restart_call(struct thread *thread, struct trap_frame *frame) {
    frame->rax = thread->restart_number;
    frame->rip -= SYSCALL_INSTRUCTION;
}

// The interrupted call's fate once a handler will run.
static void settle_call(struct thread *thread, struct trap_frame *frame, uint64_t flags) {
    enum restart kind = restart_kind(thread);
    if (kind == RESTART_ALWAYS || (kind == RESTART_IF_ASKED && flags & SA_RESTART))
        restart_call(thread, frame);
    else if (kind != RESTART_NONE)
        frame->rax = (uint64_t)-EINTR;
    thread->restart = false;
}

static struct signal_action take_action(struct process *process, int signal) {
    spin_lock(&process->lock);
    struct signal_action *action = &process->actions[signal - 1], copy = *action;
    if (copy.flags & SA_RESETHAND)
        action->handler = (uint64_t)(uintptr_t)SIG_DFL;
    spin_unlock(&process->lock);
    return copy;
}

static void run_handler(struct thread *thread, struct trap_frame *frame,
                        const struct signal_info *info, const struct signal_action *action) {
    struct signal_state *state = &thread->signals;
    uint64_t saved = state->restore_blocked ? state->saved_blocked : state->blocked;
    settle_call(thread, frame, action->flags);
    rseq_abort(thread, frame);
    if (signal_frame_push(frame, action->handler, action->flags, action->restorer, saved, info)) {
        log_line("%s[%u]: no room for the frame of %s (%d) at rsp 0x%lx", thread->process->name,
                 thread->tid, signal_name(info->signal), info->signal, frame->rsp);
        process_begin_exit(thread->process, SIGSEGV);
        return;
    }
    state->restore_blocked = false;
    uint64_t blocked = state->blocked | action->mask;
    if (!(action->flags & SA_NODEFER))
        blocked |= SIGNAL_BIT(info->signal);
    signal_mask_set(blocked);
}

void signal_deliver(struct trap_frame *frame) {
    struct thread *thread = thread_current();
    struct process *process = thread->process;
    struct signal_info info;
    while (signal_dequeue(~thread->signals.blocked, &info)) {
        struct signal_action action = take_action(process, info.signal);
        if (action.handler == (uint64_t)(uintptr_t)SIG_IGN)
            continue;
        if (action.handler == (uint64_t)(uintptr_t)SIG_DFL) {
            // Pid 1 may have blocked it when it was sent: it still gets only what it asks for.
            if (signal_ignored_by_default(info.signal) || process->pid == 1)
                continue;
            if (!signal_stops(info.signal))
                process_begin_exit(process, info.signal);
            else if (info.signal == SIGSTOP || !process_group_orphaned())
                process_stop(&info);
        } else {
            run_handler(thread, frame, &info, &action);
        }
        if (atomic_load(&thread->work) & THREAD_WORK_EXIT)
            return;
    }
    if (restart_kind(thread) != RESTART_NONE)
        restart_call(thread, frame);
    thread->restart = false;
    if (thread->signals.restore_blocked) {
        thread->signals.restore_blocked = false;
        signal_mask_set(thread->signals.saved_blocked);
    }
}
