// SPDX-License-Identifier: BSD-2-Clause
// General registers, RIP, RFLAGS and segments of a vCPU between GPR array, VMCS and KVM's
// structures.
#include <asm/processor-flags.h>
#include "arch/x86/vmx/vcpu.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

// struct kvm_regs begins with the sixteen registers in its own order.
static const uint8_t kvm_order[16] = {RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP,
                                      R8,  R9,  R10, R11, R12, R13, R14, R15};
_Static_assert(offsetof(struct kvm_regs, rip) == 128, "sixteen registers before RIP");

void vmx_get_regs(struct virt_vcpu *vcpu, struct kvm_regs *regs) {
    uint64_t *out = (uint64_t *)regs;
    vmcs_use(vmx_of(vcpu));
    vcpu->gpr[RSP] = vmread(VMCS_GUEST_RSP);
    for (unsigned i = 0; i < 16; i++)
        out[i] = vcpu->gpr[kvm_order[i]];
    regs->rip = vmread(VMCS_GUEST_RIP);
    regs->rflags = vmx_get_rflags(vcpu);
}

void vmx_set_regs(struct virt_vcpu *vcpu, const struct kvm_regs *regs) {
    const uint64_t *in = (const uint64_t *)regs;
    vmcs_use(vmx_of(vcpu));
    for (unsigned i = 0; i < 16; i++)
        vcpu->gpr[kvm_order[i]] = in[i];
    vmwrite(VMCS_GUEST_RSP, regs->rsp);
    vmwrite(VMCS_GUEST_RIP, regs->rip);
    vmx_set_rflags(vcpu, regs->rflags);
    // As KVM_SET_REGS: what was raised before belongs to the old state.
    vcpu->events.exception_pending = false;
}

static bool single_step(const struct virt_vcpu *vcpu) {
    const uint32_t both = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    return (vcpu->guest_debug.control & both) == both;
}

// While the debugger steps, TF in the VMCS is the debugger's.
uint64_t vmx_get_rflags(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    return single_step(vcpu) ? rflags & ~X86_EFLAGS_TF : rflags;
}

#define RFLAGS_DEFINED 0x3f7fd7ull // bits that may be 1 (SDM vol. 3 27.3.1.4)

void vmx_set_rflags(struct virt_vcpu *vcpu, uint64_t rflags) {
    vmcs_use(vmx_of(vcpu));
    if (single_step(vcpu))
        rflags |= X86_EFLAGS_TF;
    vmwrite(VMCS_GUEST_RFLAGS, (rflags & RFLAGS_DEFINED) | X86_EFLAGS_FIXED);
    vmx_of(vcpu)->recheck_events = true;
}

// -- segments --

// enum segment_register's order ES CS SS DS FS GS, then TR and LDTR: the VMCS has LDTR before TR.
static unsigned field_step(unsigned segment_register) {
    return (segment_register < 6 ? segment_register : segment_register == 6 ? 7 : 6) * 2;
}

static struct kvm_segment segment_from_rights(uint32_t rights) {
    bool unusable = rights & RIGHTS_UNUSABLE;
    return (struct kvm_segment){
        .type = rights & 15,
        .s = rights >> 4 & 1,
        .dpl = rights >> 5 & 3,
        .present = !unusable,
        .avl = rights >> 12 & 1,
        .l = rights >> 13 & 1,
        .db = rights >> 14 & 1,
        .g = rights >> 15 & 1,
        .unusable = unusable,
    };
}

static uint32_t rights_from_segment(const struct kvm_segment *segment) {
    if (segment->unusable || !segment->present)
        return RIGHTS_UNUSABLE;
    return (segment->type & 15u) | (segment->s & 1u) << 4 | (segment->dpl & 3u) << 5 |
           (segment->present & 1u) << 7 | (segment->avl & 1u) << 12 | (segment->l & 1u) << 13 |
           (segment->db & 1u) << 14 | (segment->g & 1u) << 15;
}

void vmx_get_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     struct kvm_segment *segment) {
    unsigned step = field_step(segment_register);
    vmcs_use(vmx_of(vcpu));
    *segment = segment_from_rights((uint32_t)vmread(VMCS_GUEST_ES_RIGHTS + step));
    segment->selector = (uint16_t)vmread(VMCS_GUEST_ES_SELECTOR + step);
    segment->base = vmread(VMCS_GUEST_ES_BASE + step);
    segment->limit = (uint32_t)vmread(VMCS_GUEST_ES_LIMIT + step);
}

void vmx_set_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     const struct kvm_segment *segment) {
    unsigned step = field_step(segment_register);
    uint32_t rights = rights_from_segment(segment);
    // A loaded segment has its accessed bit set, TR is busy (SDM vol. 3 27.3.1.2); callers often
    // leave them out.
    if (!(rights & RIGHTS_UNUSABLE)) {
        if (segment_register < 6)
            rights |= 1;
        else if (segment_register == 6)
            rights |= 2;
    }
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_GUEST_ES_SELECTOR + step, segment->selector);
    vmwrite(VMCS_GUEST_ES_BASE + step, segment->base);
    vmwrite(VMCS_GUEST_ES_LIMIT + step, segment->limit);
    vmwrite(VMCS_GUEST_ES_RIGHTS + step, rights);
}

unsigned vmx_get_cpl(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    if (!(vmread(VMCS_GUEST_CR0) & X86_CR0_PE))
        return 0;
    return vmread(VMCS_GUEST_SS_RIGHTS) >> 5 & 3;
}

// -- skipping --

#define CS_LONG (1u << 13)

void vmx_skip_slow(uint64_t rip, uint64_t next, uint64_t interruptibility, uint64_t rflags) {
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
    // The instruction is complete, so a single step is due: the processor raises it at the entry.
    if (rflags & RFLAGS_TF)
        vmwrite(VMCS_GUEST_PENDING_DEBUG, PENDING_DEBUG_BS);
}
