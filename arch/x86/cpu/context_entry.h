// SPDX-License-Identifier: BSD-2-Clause
// The parts of context switching that are in trap_entry.asm.
#pragma once
#include <stdint.h>

struct trap_frame;

void context_switch_stacks(uintptr_t *save, uintptr_t load);
void context_start(void); // first address of a new thread
_Noreturn void context_return_to_frame(struct trap_frame *frame);
_Noreturn void context_call_on_stack(void (*function)(void *argument), void *argument,
                                     uintptr_t stack_top);
