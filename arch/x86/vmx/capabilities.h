// SPDX-License-Identifier: BSD-2-Clause
// What this processor's VT-x can do, and the control words computed from it once.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum control_word { WORD_PIN, WORD_CPU, WORD_CPU2, WORD_EXIT, WORD_ENTRY, WORD_COUNT };

struct vmx_capabilities {
    uint32_t revision;            // goes into the first word of VMXON region and VMCS
    uint32_t control[WORD_COUNT]; // reserved-1 bits, the required and the wanted ones
    uint32_t allowed[WORD_COUNT]; // bits that may be 1
    uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
    uint64_t ept_pointer_bits;                  // write-back, four levels, A/D where present
    uint8_t preemption_timer_shift;             // it counts once every 2^shift TSC ticks
    bool ept_1g, ept_accessed_dirty, write_log; // write_log: page-modification logging
    bool preemption_timer, monitor_trap, pause_loop, tsc_scaling, rdtscp, invpcid, xsaves;
};

extern struct vmx_capabilities vmx;

// Reads an MSR; a table in tests.
typedef uint64_t (*capability_reader)(uint32_t index);

// Fills *capabilities from the capability MSRs. NULL, or what is missing, in words, for the log.
const char *vmx_capabilities_read(struct vmx_capabilities *capabilities, capability_reader read);
// "EPT 4K/2M/1G A/D, VPID, ..." into out.
void vmx_capabilities_describe(const struct vmx_capabilities *capabilities, char *out, size_t size);
