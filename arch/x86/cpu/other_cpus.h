// SPDX-License-Identifier: BSD-2-Clause
// Bringing up the CPUs beside the boot CPU.
#pragma once

struct acpi_machine;
struct boot_info;

// Starts at most limit - 1 further CPUs from the MADT's list, else the loader's; each ends in
// scheduler_cpu_start().
void other_cpus_start(const struct acpi_machine *machine, const struct boot_info *info,
                      unsigned limit);
// What every CPU sets up for itself, the boot CPU too: features, APIC, timer, FPU.
struct cpu;
void cpu_set_up(struct cpu *cpu);
