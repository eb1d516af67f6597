// SPDX-License-Identifier: BSD-2-Clause
// System calls: the handler type and the entry from the trap stubs. The table is
// core/process/system_calls.def.
#pragma once
#include <asm/unistd.h>
#include <stdint.h>

struct trap_frame;
// arguments: rdi, rsi, rdx, r10, r8, r9. Returns the result or -errno.
typedef int64_t system_call_handler(const uint64_t *arguments);
// Called by the SYSCALL stub on the thread's kernel stack, the number in frame->rax; stores the
// result there. The stub then checks for work (user_return) and leaves.
void system_call_dispatch(struct trap_frame *frame);
// Slow path before user mode when thread->work, cpu->reschedule or cpu->guest_msrs_loaded is set:
// yields, delivers signals, exits.
void user_return(struct trap_frame *frame);
// Results of calls that were cut short by a signal; user mode never sees them (Linux's numbers).
#define ERESTARTSYS    512 // again if the handler has SA_RESTART (or there was none), else EINTR
#define ERESTARTNOINTR 513 // always again
#define ERESTARTNOHAND 514 // again if there was no handler, else EINTR

// prctl(PR_SCHED_CORE, ...): 0 or -errno.
int core_scheduling_control(const uint64_t *arguments);

#define SYSTEM_CALL(number, handler) int64_t handler(const uint64_t *arguments);
#include "core/process/system_calls.def"
#undef SYSTEM_CALL
