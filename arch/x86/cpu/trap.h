// SPDX-License-Identifier: BSD-2-Clause
// Exceptions: names for reports, and panics.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct trap_frame;

const char *trap_name(unsigned vector);
// Panics with the registers of the frame.
_Noreturn void panic_trap(const struct trap_frame *frame, unsigned vector);
// True while some CPU is in panic: others stop at the NMI it sends.
bool panic_in_progress(void);
