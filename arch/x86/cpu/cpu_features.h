// SPDX-License-Identifier: BSD-2-Clause
// What the CPU offers to the kernel itself, and the control registers set accordingly.
#pragma once
#include <stdbool.h>

struct cpu_features {
    bool smep, smap, umip, fsgsbase, xsaveopt, x2apic, tsc_deadline, invariant_tsc, rdtscp,
        hypervisor;
};
extern struct cpu_features cpu_features;

// Reads CPUID; panics with what to do when something indispensable is missing, warns about the
// rest. Boot CPU, first.
void cpu_features_check(void);
// Turns the SMAP sites in the entry stubs into CLAC and STAC. Boot CPU, before text is read-only.
void cpu_features_patch(void);
// CR0, CR4, EFER, PAT and the SYSCALL MSRs of this CPU.
void cpu_control_init(void);
// CR4 as cpu_control_init sets it.
unsigned long cpu_control_cr4(void);
