// SPDX-License-Identifier: BSD-2-Clause
// The ways a guest ends its machine or tells of its own end: ACPI's sleep control register, the
// reset control register at 0xcf9 and the keyboard controller's reset line.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bus.h"
#include "memory.h"

struct power {
    void (*end)(void *context, bool reset);
    void (*panicked)(void *context);
    void *context;
    uint8_t reset_control;
};

// Attaches the registers; the functions and their context are set. end is called on a vCPU thread
// when the guest asks for power-off (reset false) or a reset; panicked when its kernel says that it
// has.
void power_attach(struct power *power, struct bus *ports);

// Writes the code of the reset vector, F000:FFF0. Linux jumps there to reboot a hardware-reduced
// machine that has no EFI, before it tries the reset register (reboot_init() in its
// arch/x86/kernel/reboot.c prefers EFI on such a machine, and BIOS comes next).
void power_write_reset_vector(const struct guest_memory *memory);
