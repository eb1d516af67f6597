// SPDX-License-Identifier: BSD-2-Clause
// Checks of control registers.
#include "arch/x86/guest/vcpu_control.h"
#include <asm/processor-flags.h>
#include "arch/x86/virt.h"

#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

uint64_t vcpu_cr4_allowed(const struct virt_vcpu *vcpu) {
    return vcpu->cpuid.count ? vcpu->cpuid.cr4_allowed & virt_supported_cr4 : virt_supported_cr4;
}

unsigned vcpu_physical_bits(const struct virt_vcpu *vcpu) {
    return vcpu->cpuid.physical_bits ? vcpu->cpuid.physical_bits : 36;
}

static bool cr0_valid(uint64_t cr0) {
    if (cr0 >> 32)
        return false;
    if ((cr0 & X86_CR0_NW) && !(cr0 & X86_CR0_CD))
        return false;
    return !(cr0 & X86_CR0_PG) || (cr0 & X86_CR0_PE);
}

bool vcpu_sregs_valid(const struct virt_vcpu *vcpu, const struct kvm_sregs *sregs) {
    if ((sregs->efer & EFER_LME) && (sregs->cr0 & X86_CR0_PG)) {
        // 64-bit or compatibility mode.
        if (!(sregs->cr4 & X86_CR4_PAE) || !(sregs->efer & EFER_LMA))
            return false;
        if (sregs->cr3 >> vcpu_physical_bits(vcpu))
            return false;
    } else if ((sregs->efer & EFER_LMA) || sregs->cs.l) {
        return false;
    }
    return !(sregs->cr4 & ~vcpu_cr4_allowed(vcpu)) && cr0_valid(sregs->cr0);
}

bool vcpu_cr0_move_valid(uint64_t old, uint64_t value, uint64_t cr4, uint64_t efer,
                         bool code_long) {
    bool paging_on = !(old & X86_CR0_PG) && (value & X86_CR0_PG);
    bool paging_off = (old & X86_CR0_PG) && !(value & X86_CR0_PG);
    if (!cr0_valid(value))
        return false;
    // To long mode only with PAE, and not from a 64-bit code segment.
    if (paging_on && (efer & EFER_LME) && (!(cr4 & X86_CR4_PAE) || code_long))
        return false;
    if (paging_off && ((cr4 & X86_CR4_PCIDE) || code_long))
        return false;
    return !(!(value & X86_CR0_WP) && (cr4 & X86_CR4_CET));
}

bool vcpu_cr4_move_valid(uint64_t old, uint64_t value, uint64_t cr3, uint64_t efer) {
    bool long_mode = efer & EFER_LMA;
    if (long_mode && (!(value & X86_CR4_PAE) || ((old ^ value) & X86_CR4_LA57)))
        return false;
    bool pcid_on = !(old & X86_CR4_PCIDE) && (value & X86_CR4_PCIDE);
    return !pcid_on || (long_mode && !(cr3 & X86_CR3_PCID_MASK));
}

bool vcpu_pdpte_valid(const struct virt_vcpu *vcpu, uint64_t pdpte) {
    const uint64_t reserved = 0x1e6; // bits 1-2, 5-8
    return !(pdpte & reserved) && !(pdpte >> vcpu_physical_bits(vcpu));
}
