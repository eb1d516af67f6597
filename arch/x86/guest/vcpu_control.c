// SPDX-License-Identifier: BSD-2-Clause
// Control registers: checks, and what the guest's accesses to them do.
#include "arch/x86/guest/vcpu_exit.h"
#include <asm/processor-flags.h>

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
    if (sregs->efer & ~(uint64_t)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
        return false;
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

// MOV to CR0 from old to value (SDM vol. 2 MOV-CR, vol. 3 4.1.2).
static bool cr0_move_valid(uint64_t old, uint64_t value, uint64_t cr4, uint64_t efer,
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

// MOV to CR4, apart from reserved bits.
static bool cr4_move_valid(uint64_t old, uint64_t value, uint64_t cr3, uint64_t efer) {
    bool long_mode = efer & EFER_LMA;
    if (long_mode && (!(value & X86_CR4_PAE) || ((old ^ value) & X86_CR4_LA57)))
        return false;
    bool pcid_on = !(old & X86_CR4_PCIDE) && (value & X86_CR4_PCIDE);
    return !pcid_on || (long_mode && !(cr3 & X86_CR3_PCID_MASK));
}

// Reserved bits of a present PAE PDPTE (SDM vol. 3 table 4-8).
static bool pdpte_valid(const struct virt_vcpu *vcpu, uint64_t pdpte) {
    const uint64_t reserved = 0x1e6; // bits 1-2, 5-8
    return !(pdpte & 1) || (!(pdpte & reserved) && !(pdpte >> vcpu_physical_bits(vcpu)));
}

bool vcpu_load_pdptes(struct virt_vcpu *vcpu, uint64_t cr0, uint64_t cr4, uint64_t efer) {
    uint64_t pdpte[4], cr3 = virt->get(vcpu, BACKEND_CR3) & 0xffffffe0;
    if (!virt->set_pdptes || !(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || (efer & EFER_LME))
        return true;
    if (!vcpu->read_physical || !vcpu->read_physical(vcpu, cr3, pdpte, sizeof(pdpte)))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if (!pdpte_valid(vcpu, pdpte[i]))
            return false;
    virt->set_pdptes(vcpu, pdpte);
    return true;
}

// -- exits --

static bool move_to_cr0(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t old = virt->get(vcpu, BACKEND_CR0), cr4 = virt->get(vcpu, BACKEND_CR4);
    uint64_t efer = virt->get(vcpu, BACKEND_EFER);
    struct kvm_segment cs;
    virt->get_segment(vcpu, SEG_CS, &cs);
    if (!cr0_move_valid(old, value, cr4, efer, cs.l))
        return false;
    if (!(old & X86_CR0_PG) && !vcpu_load_pdptes(vcpu, value, cr4, efer))
        return false;
    virt->set(vcpu, BACKEND_CR0, value);
    return true;
}

static bool move_to_cr4(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t old = virt->get(vcpu, BACKEND_CR4), efer = virt->get(vcpu, BACKEND_EFER);
    if ((value & ~vcpu_cr4_allowed(vcpu)) ||
        !cr4_move_valid(old, value, virt->get(vcpu, BACKEND_CR3), efer))
        return false;
    const uint64_t reload =
        X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_SMEP; // SDM vol. 3 4.4.1
    if (((old ^ value) & reload) &&
        !vcpu_load_pdptes(vcpu, virt->get(vcpu, BACKEND_CR0), value, efer))
        return false;
    virt->set(vcpu, BACKEND_CR4, value);
    if ((old ^ value) & (X86_CR4_OSXSAVE | X86_CR4_PKE))
        virt_cpuid_update(vcpu);
    return true;
}

enum exit_action vcpu_write_control(struct virt_vcpu *vcpu, struct virt_exit *exit, unsigned number,
                                    uint64_t value) {
    uint64_t old = virt_get_cr8(vcpu);
    bool ok = number == 0   ? move_to_cr0(vcpu, value)
              : number == 4 ? move_to_cr4(vcpu, value)
                            : number == 8 && value <= 15;
    if (!ok) {
        virt_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    if (number != 8)
        return EXIT_SKIP;
    virt_set_cr8(vcpu, value);
    if (vcpu->irqchip || value >= old)
        return EXIT_SKIP;
    exit->kind = VIRT_EXIT_SET_TPR; // user space has the local APIC
    return EXIT_SKIP_LEAVE;
}

enum exit_action vcpu_load_status(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t source) {
    uint64_t cr0 = virt->get(vcpu, BACKEND_CR0);
    return vcpu_write_control(vcpu, exit, 0, (cr0 & ~14ull) | (source & 15));
}

enum exit_action vcpu_clear_task_switched(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    uint64_t cr0 = virt->get(vcpu, BACKEND_CR0);
    return vcpu_write_control(vcpu, exit, 0, cr0 & ~(uint64_t)X86_CR0_TS);
}
