// SPDX-License-Identifier: BSD-2-Clause
// The machine as ACPI describes it. machine_power_off and machine_reset are in arch/x86/cpu.h.
#pragma once
#include "arch/x86/cpu/acpi.h"

struct boot_info;

// Reads ACPI, if there is any, and tells the page allocator of NUMA nodes.
const struct acpi_machine *machine_init(const struct boot_info *info);
// The NUMA node of a CPU.
unsigned machine_node_of_cpu(uint32_t apic_id);
