// SPDX-License-Identifier: BSD-2-Clause
// System calls: the handler type and the entry from the trap stubs. The table is core/process/system_calls.def.
#pragma once
#include <stdint.h>

struct trap_frame;
// arguments: rdi, rsi, rdx, r10, r8, r9. Returns the result or -errno.
typedef int64_t system_call_handler(const uint64_t *arguments);
// Called by the SYSCALL stub on the thread's kernel stack; stores the result in frame->rax. The stub then checks for work
// (user_return) and leaves.
void system_call_dispatch(struct trap_frame *frame);
// Slow path before user mode when thread->work, cpu->reschedule or cpu->guest_msrs_loaded is set: yields, delivers signals, exits.
void user_return(struct trap_frame *frame);
// Wanted by calls that were interrupted by a signal: restart if the handler has SA_RESTART (or there was none), else EINTR.
#define ERESTARTSYS 512

#define SYSTEM_CALL(number, handler) int64_t handler(const uint64_t *arguments);
#include "core/process/system_calls.def"
#undef SYSTEM_CALL
