// SPDX-License-Identifier: BSD-2-Clause
// The guest's CR0, CR4, CR8 and EFER. The guest owns every bit whose change the processor handles
// alone (paging and long mode included, thanks to unrestricted guest); the rest exits and is shown
// from the shadow (SDM vol. 3 25.6.6).
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_control.h"
#include "arch/x86/vmx/vcpu.h"

// Caching is the host's business (as KVM: neither CD nor NW reaches the processor), NE is fixed to
// 1 in VMX operation.
#define CR0_HOST_OWNED (X86_CR0_CD | X86_CR0_NW | X86_CR0_NE)
// Never the guest's own: VMXE is fixed to 1, a machine check must exit, CPUID follows OSXSAVE and
// PKE.
#define CR4_HOST_OWNED (X86_CR4_VMXE | X86_CR4_SMXE | X86_CR4_MCE | X86_CR4_OSXSAVE | X86_CR4_PKE)

uint64_t vmx_get_cr0(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    return (vmread(VMCS_GUEST_CR0) & ~CR0_HOST_OWNED) | (vmread(VMCS_CR0_SHADOW) & CR0_HOST_OWNED);
}

static uint64_t cr4_guest_owned(const struct virt_vcpu *vcpu) {
    return vcpu_cr4_allowed(vcpu) & vmx.cr4_fixed1 & ~CR4_HOST_OWNED;
}

uint64_t vmx_get_cr4(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    uint64_t owned = ~vmread(VMCS_CR4_MASK);
    return (vmread(VMCS_GUEST_CR4) & owned) | (vmread(VMCS_CR4_SHADOW) & ~owned);
}

void vmx_write_efer(struct virt_vcpu *vcpu, uint64_t efer) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_GUEST_EFER, efer);
    vmx_syscall_enabled(vcpu, efer & EFER_SCE);
    uint64_t controls = vmread(VMCS_ENTRY_CONTROLS) & ~(uint64_t)ENTRY_GUEST_64;
    vmwrite(VMCS_ENTRY_CONTROLS, controls | (efer & EFER_LMA ? ENTRY_GUEST_64 : 0));
    vmx_of(vcpu)->flush_tlb = true; // NXE changes what cached translations mean
}

void vmx_write_cr0(struct virt_vcpu *vcpu, uint64_t cr0) {
    vmcs_use(vmx_of(vcpu));
    cr0 |= X86_CR0_ET; // hardwired
    uint64_t fixed =
        vmx.cr0_fixed0 & ~(uint64_t)(X86_CR0_PE | X86_CR0_PG); // free in an unrestricted guest
    vmwrite(VMCS_CR0_MASK, CR0_HOST_OWNED);
    vmwrite(VMCS_CR0_SHADOW, cr0);
    vmwrite(VMCS_GUEST_CR0,
            ((cr0 & ~(uint64_t)(X86_CR0_CD | X86_CR0_NW)) | fixed) & vmx.cr0_fixed1);
    uint64_t efer = vmread(VMCS_GUEST_EFER);
    bool long_mode = (efer & EFER_LME) && (cr0 & X86_CR0_PG);
    if (long_mode != !!(efer & EFER_LMA))
        vmx_write_efer(vcpu, efer ^ EFER_LMA);
    vmx_of(vcpu)->flush_tlb = true;
}

void vmx_write_cr4(struct virt_vcpu *vcpu, uint64_t cr4) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_CR4_MASK, ~cr4_guest_owned(vcpu));
    vmwrite(VMCS_CR4_SHADOW, cr4);
    vmwrite(VMCS_GUEST_CR4, ((cr4 | (read_cr4() & X86_CR4_MCE)) & vmx.cr4_fixed1) | vmx.cr4_fixed0);
    vmx_of(vcpu)->flush_tlb = true;
}

void vmx_update_cr4_mask(struct virt_vcpu *vcpu) {
    vmx_write_cr4(vcpu, vmx_get_cr4(vcpu));
}

bool vmx_load_pdptes(struct virt_vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4,
                     uint64_t efer) {
    uint64_t pdpte[4];
    if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || (efer & EFER_LMA))
        return true;
    if (!vcpu->read_physical || !vcpu->read_physical(vcpu, cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
        return false;
    for (unsigned i = 0; i < 4; i++)
        if ((pdpte[i] & 1) && !vcpu_pdpte_valid(vcpu, pdpte[i]))
            return false;
    vmcs_use(vmx_of(vcpu));
    for (unsigned i = 0; i < 4; i++)
        vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, pdpte[i]);
    return true;
}

// -- exits --

static bool move_to_cr0(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t old = vmx_get_cr0(vcpu), cr4 = vmx_get_cr4(vcpu), efer = vmread(VMCS_GUEST_EFER);
    bool code_long = vmread(VMCS_GUEST_CS_RIGHTS) & 1u << 13;
    if (!vcpu_cr0_move_valid(old, value, cr4, efer, code_long))
        return false;
    bool paging_on = !(old & X86_CR0_PG) && (value & X86_CR0_PG);
    if (paging_on && !(efer & EFER_LME) &&
        !vmx_load_pdptes(vcpu, value, vmread(VMCS_GUEST_CR3), cr4, efer))
        return false;
    vmx_write_cr0(vcpu, value & UINT32_MAX);
    return true;
}

static bool move_to_cr4(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t old = vmx_get_cr4(vcpu), cr0 = vmx_get_cr0(vcpu), efer = vmread(VMCS_GUEST_EFER);
    uint64_t cr3 = vmread(VMCS_GUEST_CR3);
    if ((value & ~vcpu_cr4_allowed(vcpu)) || !vcpu_cr4_move_valid(old, value, cr3, efer))
        return false;
    const uint64_t reload =
        X86_CR4_PGE | X86_CR4_PSE | X86_CR4_PAE | X86_CR4_SMEP; // SDM vol. 3 4.4.1
    if (((old ^ value) & reload) && !vmx_load_pdptes(vcpu, cr0, cr3, value, efer))
        return false;
    vmx_write_cr4(vcpu, value);
    if ((old ^ value) & (X86_CR4_OSXSAVE | X86_CR4_PKE))
        virt_cpuid_update(vcpu);
    return true;
}

static uint64_t gpr_read(struct virt_vcpu *vcpu, unsigned index) {
    return index == 4 ? vmread(VMCS_GUEST_RSP) : vcpu->gpr[index];
}

// CR8 exits only without the TPR shadow, that is without an in-kernel local APIC. True: leave, user
// space wants to know.
static bool move_to_cr8(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t old = vcpu->cr8;
    vcpu->cr8 = value;
    return value < old;
}

enum { ACCESS_TO_CR, ACCESS_FROM_CR, ACCESS_CLTS, ACCESS_LMSW };

static enum exit_action write_control_register(struct virt_vcpu *vcpu, unsigned number,
                                               uint64_t value, struct virt_exit *exit) {
    bool ok = number == 0   ? move_to_cr0(vcpu, value)
              : number == 4 ? move_to_cr4(vcpu, value)
                            : number == 8 && value <= 15;
    if (!ok) {
        vmx_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    vmx_skip();
    if (number == 8 && move_to_cr8(vcpu, value)) {
        exit->kind = VIRT_EXIT_SET_TPR;
        return EXIT_LEAVE;
    }
    return EXIT_RESUME;
}

enum exit_action exit_control_register(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                       struct virt_exit *exit) {
    (void)v;
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-3
    unsigned number = qualification & 15, gpr = qualification >> 8 & 15;
    switch (qualification >> 4 & 3) {
    case ACCESS_TO_CR:
        return write_control_register(vcpu, number, gpr_read(vcpu, gpr), exit);
    case ACCESS_FROM_CR: // only CR8: the others are read without an exit
        if (gpr == 4)
            vmwrite(VMCS_GUEST_RSP, vcpu->cr8);
        else
            vcpu->gpr[gpr] = vcpu->cr8;
        vmx_skip();
        return EXIT_RESUME;
    case ACCESS_CLTS:
        return write_control_register(vcpu, 0, vmx_get_cr0(vcpu) & ~(uint64_t)X86_CR0_TS, exit);
    default: { // LMSW sets PE but cannot clear it (SDM vol. 2 LMSW)
        uint64_t source = qualification >> 16 & 15, cr0 = vmx_get_cr0(vcpu);
        return write_control_register(vcpu, 0, (cr0 & ~14ull) | source, exit);
    }
    }
}
