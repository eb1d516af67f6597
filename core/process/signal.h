// SPDX-License-Identifier: BSD-2-Clause
// Signals: per-thread mask and pending set, per-process actions; delivery onto the user stack in
// Linux's frame layout.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/list.h"

struct thread;
struct process;
struct trap_frame;

struct signal_state {
    uint64_t blocked; // bit (signal - 1); only the thread itself writes it
    _Atomic uint64_t pending;
    struct list queue; // struct signal_entry: what is known about the pending ones
    uint64_t waited;   // sigtimedwait: these end the wait although blocked
    uint64_t
        saved_blocked; // to restore after ppoll/epoll_pwait/sigsuspend/KVM_RUN with a signal mask
    bool restore_blocked;
    uint64_t alternate_stack, alternate_size;
    uint32_t alternate_flags;
};

struct signal_action { // as the kernel's struct sigaction of x86-64
    uint64_t handler, flags, restorer, mask;
};

// Of sigaltstack(2); <asm/signal.h> leaves them to the C library.
#ifndef SS_DISABLE
#define SS_ONSTACK 1
#define SS_DISABLE 2
#endif
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif

#define SIGNAL_BIT(signal) (1ull << ((signal)-1))

// SIGPIPE for the current thread.
void signal_broken_pipe(void);
// Synchronous fault of the current thread: cannot be blocked; kills the process if it has no
// handler.
void signal_fault(int signal, int code, uint64_t address);
// Whether a signal waits that the thread's mask (or its sigtimedwait) lets through.
bool signal_deliverable(const struct thread *thread);
void signal_state_init(struct signal_state *state);

// The current thread's mask. SIGKILL and SIGSTOP are left out of what is given.
void signal_mask_set(uint64_t blocked);
// For ppoll, epoll_pwait, KVM_RUN ...: another mask until the thread next returns to user mode,
// where a signal it lets through is delivered and the old mask comes back.
void signal_mask_set_temporarily(uint64_t blocked);
// user_return's part: delivers what is pending into the frame, restarts or ends interrupted system
// calls.
void signal_deliver(struct trap_frame *frame);
