// SPDX-License-Identifier: BSD-2-Clause
// The state that an SMI saves and RSM loads, in AMD64's layout (APM vol. 2 table 10-1), which KVM
// uses too.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#define SMM_BASE_RESET    0x30000
#define SMM_ENTRY         0x8000  // from SMBASE
#define SMM_STATE         0xfe00  // from SMBASE
#define SMM_STATE_VERSION 0x20064 // SMBASE may be moved

struct smm_segment {
    uint16_t selector, attributes; // as descriptor bits 55:52 and 47:40, the limit's between them 0
    uint32_t limit;
    uint64_t base;
};

struct smm_state {
    struct smm_segment segments[6]; // ES, CS, SS, DS, FS, GS
    struct smm_segment gdtr, ldtr, idtr, tr;
    uint8_t io_restart[0x2b]; // not offered
    uint8_t interrupt_shadow; // KVM's own
    uint32_t reserved0;
    uint64_t efer;
    uint8_t reserved1[0x24];
    uint32_t version, base;
    uint8_t reserved2[0x44];
    uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
    uint64_t gpr[16]; // R15 to RAX
};

// State to and from the save area; what is not in it stays in *sregs. RSP is gpr[4].
void smm_save(struct smm_state *state, const struct kvm_sregs *sregs, const uint64_t gpr[16]);
void smm_load(const struct smm_state *state, struct kvm_sregs *sregs, uint64_t gpr[16]);
// What sregs hold when the handler begins (APM vol. 2 10.3.3).
void smm_enter(struct kvm_sregs *sregs, uint32_t base);
