// SPDX-License-Identifier: BSD-2-Clause
// The signal frame on the user stack, in the layout of Linux's x86-64 rt_sigframe.
#pragma once
#include <stdint.h>

struct signal_info;
struct trap_frame;

// Saves the current thread's user registers on its stack (or alternate stack) and turns the frame
// towards the handler. The mask saved is `blocked`. 0, or -EFAULT: the stack cannot take it and
// nothing has changed.
int signal_frame_push(struct trap_frame *frame, uint64_t handler, uint64_t flags, uint64_t restorer,
                      uint64_t blocked, const struct signal_info *info);
// rt_sigreturn: takes registers, FPU state, mask and alternate stack back from the frame at RSP. 0
// or -EFAULT.
int signal_frame_pop(struct trap_frame *frame);
// Most that a frame takes of a stack, bytes (AT_MINSIGSTKSZ).
uint64_t signal_frame_size(void);
