// SPDX-License-Identifier: BSD-2-Clause
// Exceptions: hooks for other parts, names for reports.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct trap_frame;

// Called for an NMI before the kernel's own use of it (panic stop). vmx uses it for NMIs that hit
// in root mode meant for a guest.
extern void (*trap_nmi_hook)(struct trap_frame *frame);
// An NMI that a VM exit reported: what the vector's handler would do.
void trap_nmi(struct trap_frame *frame);
// Likewise a machine check.
_Noreturn void trap_machine_check(void);

const char *trap_name(unsigned vector);
// Panics with the registers of the frame.
_Noreturn void panic_trap(const struct trap_frame *frame, unsigned vector);
// True while some CPU is in panic: others stop at the NMI it sends.
bool panic_in_progress(void);
