// SPDX-License-Identifier: BSD-2-Clause
// The guest's CR0, CR4 and EFER in the VMCS. The guest owns every bit whose change the processor
// handles alone (paging and long mode included, thanks to unrestricted guest); the rest exits and
// is shown from the shadow (SDM vol. 3 25.6.6).
#include <asm/processor-flags.h>
#include "arch/x86/vmx/vcpu.h"

// Caching is the host's business (as KVM: neither CD nor NW reaches the processor), NE is fixed to
// 1 in VMX operation.
#define CR0_HOST_OWNED (X86_CR0_CD | X86_CR0_NW | X86_CR0_NE)
// Never the guest's own: VMXE is fixed to 1, a machine check must exit, CPUID follows OSXSAVE and
// PKE.
#define CR4_HOST_OWNED (X86_CR4_VMXE | X86_CR4_SMXE | X86_CR4_MCE | X86_CR4_OSXSAVE | X86_CR4_PKE)

uint64_t vmx_get_cr0(void) {
    return (vmread(VMCS_GUEST_CR0) & ~CR0_HOST_OWNED) | (vmread(VMCS_CR0_SHADOW) & CR0_HOST_OWNED);
}

uint64_t vmx_get_cr4(void) {
    uint64_t owned = ~vmread(VMCS_CR4_MASK);
    return (vmread(VMCS_GUEST_CR4) & owned) | (vmread(VMCS_CR4_SHADOW) & ~owned);
}

void vmx_write_efer(struct virt_vcpu *vcpu, uint64_t efer) {
    vmwrite(VMCS_GUEST_EFER, efer);
    vmx_syscall_enabled(vcpu, efer & EFER_SCE);
    uint64_t controls = vmread(VMCS_ENTRY_CONTROLS) & ~(uint64_t)ENTRY_GUEST_64;
    vmwrite(VMCS_ENTRY_CONTROLS, controls | (efer & EFER_LMA ? ENTRY_GUEST_64 : 0));
    vcpu->flush_tlb = true; // NXE changes what cached translations mean
}

void vmx_write_cr0(struct virt_vcpu *vcpu, uint64_t cr0) {
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
    vcpu->flush_tlb = true;
}

void vmx_write_cr4(struct virt_vcpu *vcpu, uint64_t cr4) {
    vmwrite(VMCS_CR4_MASK, ~(vcpu_cr4_allowed(vcpu) & vmx.cr4_fixed1 & ~CR4_HOST_OWNED));
    vmwrite(VMCS_CR4_SHADOW, cr4);
    vmwrite(VMCS_GUEST_CR4, ((cr4 | (read_cr4() & X86_CR4_MCE)) & vmx.cr4_fixed1) | vmx.cr4_fixed0);
    vcpu->flush_tlb = true;
}
