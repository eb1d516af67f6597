// SPDX-License-Identifier: BSD-2-Clause
// The I/O APICs. arch/x86/irq.h has what the rest of the kernel uses.
#pragma once

struct acpi_machine;

// Masks the 8259s and every line of the I/O APICs that the MADT lists (none listed: the one at
// 0xfec00000).
void io_apic_init(const struct acpi_machine *machine);
