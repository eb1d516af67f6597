// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's registers in its VMCS, and going past an instruction.
#include "arch/x86/vmx/vcpu.h"

static const uint16_t fields[BACKEND_HARDWARE] = {
    [BACKEND_RIP] = VMCS_GUEST_RIP,
    [BACKEND_RSP] = VMCS_GUEST_RSP,
    [BACKEND_RFLAGS] = VMCS_GUEST_RFLAGS,
    [BACKEND_CR3] = VMCS_GUEST_CR3,
    [BACKEND_GDT_BASE] = VMCS_GUEST_GDTR_BASE,
    [BACKEND_GDT_LIMIT] = VMCS_GUEST_GDTR_LIMIT,
    [BACKEND_IDT_BASE] = VMCS_GUEST_IDTR_BASE,
    [BACKEND_IDT_LIMIT] = VMCS_GUEST_IDTR_LIMIT,
    [BACKEND_EFER] = VMCS_GUEST_EFER,
    [BACKEND_FS_BASE] = VMCS_GUEST_FS_BASE,
    [BACKEND_GS_BASE] = VMCS_GUEST_GS_BASE,
    [BACKEND_SYSENTER_CS] = VMCS_GUEST_SYSENTER_CS,
    [BACKEND_SYSENTER_ESP] = VMCS_GUEST_SYSENTER_ESP,
    [BACKEND_SYSENTER_EIP] = VMCS_GUEST_SYSENTER_EIP,
    [BACKEND_PAT] = VMCS_GUEST_PAT,
};

_Static_assert(BACKEND_CSTAR - BACKEND_KERNEL_GS_BASE == LAZY_CSTAR, "one order");
_Static_assert(BACKEND_HARDWARE == BACKEND_CSTAR + 1, "nothing after them");

#define CS_LONG       (1u << 13)
#define CS_DEFAULT_32 (1u << 14)

uint64_t vmx_get(struct virt_vcpu *vcpu, enum backend_register which) {
    vmcs_use(vmx_of(vcpu));
    if (__builtin_expect(fields[which], 1))
        return vmread(fields[which]);
    if (which >= BACKEND_KERNEL_GS_BASE)
        return vmx_lazy_get(vcpu, which - BACKEND_KERNEL_GS_BASE);
    if (which == BACKEND_CR4)
        return vmx_get_cr4();
    if (which == BACKEND_CR0)
        return vmx_get_cr0();
    // BACKEND_CPL
    return vmread(VMCS_GUEST_CR0) & CR0_PE ? vmread(VMCS_GUEST_SS_RIGHTS) >> 5 & 3 : 0;
}

void vmx_get_state(struct virt_vcpu *vcpu, struct virt_state *state) {
    vmcs_use(vmx_of(vcpu));
    uint64_t code_rights = vmread(VMCS_GUEST_CS_RIGHTS), cr0 = vmx_get_cr0();
    state->paging.cr0 = cr0;
    state->paging.cr3 = vmread(VMCS_GUEST_CR3);
    state->paging.cr4 = vmx_get_cr4();
    state->paging.efer = vmread(VMCS_GUEST_EFER);
    state->paging.rflags = vmread(VMCS_GUEST_RFLAGS);
    state->paging.cpl = cr0 & CR0_PE ? vmread(VMCS_GUEST_SS_RIGHTS) >> 5 & 3 : 0;
    state->rip = vmread(VMCS_GUEST_RIP);
    state->rsp = vmread(VMCS_GUEST_RSP);
    state->code_base = vmread(VMCS_GUEST_ES_BASE + 2 * SEG_CS);
    state->code_long = code_rights & CS_LONG;
    state->code_32 = code_rights & CS_DEFAULT_32;
    state->interrupt_shadow =
        vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS);
}

void vmx_set(struct virt_vcpu *vcpu, enum backend_register which, uint64_t value) {
    vmcs_use(vmx_of(vcpu));
    if (which == BACKEND_CR0)
        vmx_write_cr0(vcpu, value);
    else if (which == BACKEND_CR4)
        vmx_write_cr4(vcpu, value);
    else if (which == BACKEND_EFER)
        vmx_write_efer(vcpu, value);
    else if (which >= BACKEND_KERNEL_GS_BASE)
        vmx_lazy_set(vcpu, which - BACKEND_KERNEL_GS_BASE, value);
    else
        vmwrite(fields[which], value);
}

// -- segments --

// enum segment_register's order ES CS SS DS FS GS, then TR and LDTR: the VMCS has LDTR before TR.
static unsigned field_step(unsigned segment_register) {
    return (segment_register < 6 ? segment_register : segment_register == 6 ? 7 : 6) * 2;
}

void vmx_get_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     struct kvm_segment *segment) {
    unsigned step = field_step(segment_register);
    vmcs_use(vmx_of(vcpu));
    uint64_t rights = vmread(VMCS_GUEST_ES_RIGHTS + step);
    uint16_t attributes = (uint16_t)(rights & RIGHTS_UNUSABLE ? rights & ~(uint64_t)ATTRIBUTE_P
                                                              : rights | ATTRIBUTE_P);
    *segment = vcpu_segment((uint16_t)vmread(VMCS_GUEST_ES_SELECTOR + step),
                            vmread(VMCS_GUEST_ES_BASE + step),
                            (uint32_t)vmread(VMCS_GUEST_ES_LIMIT + step), attributes);
}

void vmx_set_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     const struct kvm_segment *segment) {
    unsigned step = field_step(segment_register);
    uint32_t attributes = vcpu_segment_attributes(segment), rights = RIGHTS_UNUSABLE;
    // A loaded segment has its accessed bit set, TR is busy (SDM vol. 3 27.3.1.2); callers often
    // leave them out.
    if (attributes & ATTRIBUTE_P)
        rights = attributes | (segment_register < VCPU_SEGMENT_TR    ? 1
                               : segment_register == VCPU_SEGMENT_TR ? 2
                                                                     : 0);
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_GUEST_ES_SELECTOR + step, segment->selector);
    vmwrite(VMCS_GUEST_ES_BASE + step, segment->base);
    vmwrite(VMCS_GUEST_ES_LIMIT + step, segment->limit);
    vmwrite(VMCS_GUEST_ES_RIGHTS + step, rights);
}

// -- skipping --

void vmx_skip_slow(struct virt_vcpu *vcpu, uint64_t rip, uint64_t next, uint64_t interruptibility,
                   uint64_t rflags) {
    const uint64_t shadow = BLOCKING_STI | BLOCKING_MOV_SS;
    // Outside 64-bit code RIP wraps at 4 GiB.
    if ((rip ^ next) >> 32) {
        bool code_64 =
            (vmread(VMCS_GUEST_EFER) & EFER_LMA) && (vmread(VMCS_GUEST_CS_RIGHTS) & CS_LONG);
        if (!code_64)
            next &= UINT32_MAX;
    }
    vmwrite(VMCS_GUEST_RIP, next);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, interruptibility & ~shadow);
    if (rflags & RFLAGS_TF)
        vcpu->step_due = true;
}
