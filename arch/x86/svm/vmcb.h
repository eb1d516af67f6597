// SPDX-License-Identifier: BSD-2-Clause
// The virtual machine control block (APM vol. 2 appendix B) and the bits of its control area.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct vmcb_segment {
    uint16_t selector, attributes;
    uint32_t limit;
    uint64_t base;
};

// The intercept words lie so that an exit code below 0xa0 is the number of its bit (APM vol. 2
// appendix C).
struct vmcb {
    uint32_t intercepts[6]; // CR reads and writes, DRs, exceptions, two of instructions, one more
    uint8_t reserved_018[0x3c - 0x18];
    uint16_t pause_threshold, pause_count;
    uint64_t io_map, msr_map;
    uint64_t tsc_offset;
    uint32_t asid;
    uint8_t tlb_control;
    uint8_t reserved_05d[3];
    uint32_t interrupt_control; // enum vmcb_interrupt_control
    uint32_t interrupt_vector;
    uint64_t interrupt_shadow; // bit 0
    uint64_t exit_code, exit_info1, exit_info2;
    uint64_t exit_event; // EXITINTINFO: guest/vcpu_event.h
    uint64_t nested_control;
    uint8_t reserved_098[0xa8 - 0x98];
    uint64_t event; // EVENTINJ
    uint64_t nested_cr3;
    uint64_t branch_control;
    uint64_t clean; // enum vmcb_clean
    uint64_t next_rip;
    uint8_t instruction_count, instruction[15];
    uint8_t reserved_0e0[0x400 - 0xe0];

    // Order of enum segment_register, then the tables' registers.
    struct vmcb_segment segment[6];
    struct vmcb_segment gdtr, ldtr, idtr, tr;
    uint8_t reserved_4a0[0xcb - 0xa0];
    uint8_t cpl;
    uint32_t reserved_4cc;
    uint64_t efer;
    uint8_t reserved_4d8[0x148 - 0xd8];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint8_t reserved_580[0x1d8 - 0x180];
    uint64_t rsp;
    uint8_t reserved_5e0[0x1f8 - 0x1e0];
    uint64_t rax;
    uint64_t star, lstar, cstar, syscall_mask, kernel_gs_base; // from here to sysenter_eip, and FS,
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip; // GS, LDTR, TR: moved by VMLOAD and VMSAVE
    uint64_t cr2;
    uint8_t reserved_648[0x268 - 0x248];
    uint64_t pat, debug_control;
};
_Static_assert(offsetof(struct vmcb, pause_threshold) == 0x3c, "APM vol. 2 table B-1");
_Static_assert(offsetof(struct vmcb, exit_code) == 0x70, "APM vol. 2 table B-1");
_Static_assert(offsetof(struct vmcb, event) == 0xa8, "APM vol. 2 table B-1");
_Static_assert(offsetof(struct vmcb, instruction_count) == 0xd0, "APM vol. 2 table B-1");
_Static_assert(offsetof(struct vmcb, segment) == 0x400, "APM vol. 2 table B-2");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0, "APM vol. 2 table B-2");
_Static_assert(offsetof(struct vmcb, cr4) == 0x548, "APM vol. 2 table B-2");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "APM vol. 2 table B-2");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8, "APM vol. 2 table B-2");
_Static_assert(offsetof(struct vmcb, pat) == 0x668, "APM vol. 2 table B-2");

enum { // words of intercepts[]
    INTERCEPT_CR,
    INTERCEPT_DR,
    INTERCEPT_EXCEPTIONS,
};

enum vmcb_tlb_control { // APM vol. 2 15.16.1
    TLB_KEEP = 0,
    TLB_FLUSH_ALL = 1,
    TLB_FLUSH_GUEST = 3, // needs flush by ASID
};

enum vmcb_interrupt_control { // APM vol. 2 table B-1, offset 60h
    V_TPR = 0xff,
    V_IRQ = 1 << 8,
    V_NMI_PENDING = 1 << 11,
    V_NMI_MASK = 1 << 12,
    V_PRIORITY = 15 << 16,
    V_IGNORE_TPR = 1 << 20,
    V_INTR_MASKING = 1 << 24, // RFLAGS.IF and CR8 of the guest are not the host's
    V_NMI_ENABLE = 1 << 26,
};

#define NESTED_PAGING       1ull
#define IN_INTERRUPT_SHADOW 1ull

enum vmcb_clean {              // APM vol. 2 15.15.3: what has not changed since the last entry
    CLEAN_INTERCEPTS = 1 << 0, // and TSC offset, PAUSE filter
    CLEAN_MAPS = 1 << 1,
    CLEAN_ASID = 1 << 2,
    CLEAN_INTERRUPTS = 1 << 3, // V_TPR, V_IRQ ...
    CLEAN_NESTED = 1 << 4,     // nested CR3, PAT
    CLEAN_CONTROL = 1 << 5,    // CR0, CR3, CR4, EFER
    CLEAN_DEBUG = 1 << 6,      // DR6, DR7
    CLEAN_TABLES = 1 << 7,     // GDTR, IDTR
    CLEAN_SEGMENTS = 1 << 8,   // CS, DS, SS, ES, CPL
    CLEAN_CR2 = 1 << 9,
    CLEAN_ALL = 0x3ff,
};

enum { // segment attributes: the descriptor's bits 40-47 and 52-55
    VMCB_ATTRIBUTE_L = 1 << 9,
    VMCB_ATTRIBUTE_DB = 1 << 10,
};

// EXITINFO1 of an I/O exit, APM vol. 2 15.10.2.
enum { IO_IN = 1 << 0, IO_STRING = 1 << 2 };
// EXITINFO1 of a nested page fault, APM vol. 2 15.25.6.
#define NPF_WRITE     (1ull << 1)
#define NPF_PAGE_WALK (1ull << 33)
// EXITINFO1 of MOV CR with decode assists, APM vol. 2 15.33.1.
#define MOV_CR_VALID (1ull << 63)
