// SPDX-License-Identifier: BSD-2-Clause
// Segment selectors (Linux's, so that a signal frame shows what programs expect) and the descriptor
// tables of a CPU.
#pragma once
#include <stdint.h>

enum segment_selector {
    SEGMENT_KERNEL_CODE = 0x10,
    SEGMENT_KERNEL_DATA = 0x18,
    SEGMENT_USER_CODE_32 = 0x23, // what SYSRET counts from; not present
    SEGMENT_USER_DATA = 0x2b,
    SEGMENT_USER_CODE = 0x33,
    SEGMENT_TSS = 0x40,
    SEGMENT_CPU_NUMBER = 0x53, // its limit is the CPU's index and, from bit 12 on, node: for LSL in
                               // user mode
};

// 64-bit TSS (SDM 3A 8.7).
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3];
    uint64_t reserved1;
    uint64_t ist[7]; // ist[0] is IST 1
    uint64_t reserved2;
    uint16_t reserved3, io_map;
} __attribute__((packed));

#define GDT_BYTES 0x58u
#define IDT_BYTES 4096u

struct cpu;
uint64_t segment_idt_base(void); // of all CPUs
// Loads GDT, IDT, TSS and segment registers on this CPU; GS base is `cpu` from then on.
void segment_load(struct cpu *cpu);
