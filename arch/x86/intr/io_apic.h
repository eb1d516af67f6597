// SPDX-License-Identifier: BSD-2-Clause
// The I/O APICs. arch/x86/irq.h has what the rest of the kernel uses.
#pragma once
#include "arch/x86/irq.h"

struct acpi_machine;

// Masks the 8259s and every line of the I/O APICs that the MADT lists (none listed: the one at
// 0xfec00000).
void io_apic_init(const struct acpi_machine *machine);

// -- irq_line.c --

// 0, -EINVAL: no vector for this line, -EBUSY: its vector is a message's.
int irq_line_add(uint32_t gsi, struct irq_handler *handler);
// Whether that was the last. The handler does not run any more on return; no lock held.
bool irq_line_remove(uint32_t gsi, struct irq_handler *handler);
bool irq_line_used(uint32_t gsi);
