// SPDX-License-Identifier: BSD-2-Clause
// General registers, RIP, RFLAGS and segments of a vCPU between GPR array, VMCB and KVM's
// structures.
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_debug.h"
#include "arch/x86/guest/vcpu_reset.h"
#include "arch/x86/svm/vcpu.h"

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

// struct kvm_regs begins with the sixteen registers in its own order.
static const uint8_t kvm_order[16] = {RAX, RBX, RCX, RDX, RSI, RDI, RSP, RBP,
                                      R8,  R9,  R10, R11, R12, R13, R14, R15};
_Static_assert(offsetof(struct kvm_regs, rip) == 128, "sixteen registers before RIP");

uint64_t svm_read_gpr(const struct virt_vcpu *vcpu, unsigned index) {
    return index == RSP ? svm_of(vcpu)->vmcb->rsp : vcpu->gpr[index];
}

void svm_write_gpr(struct virt_vcpu *vcpu, unsigned index, uint64_t value) {
    if (index == RSP)
        svm_of(vcpu)->vmcb->rsp = value;
    else
        vcpu->gpr[index] = value;
}

void svm_get_regs(struct virt_vcpu *vcpu, struct kvm_regs *regs) {
    uint64_t *out = (uint64_t *)regs;
    for (unsigned i = 0; i < 16; i++)
        out[i] = svm_read_gpr(vcpu, kvm_order[i]);
    regs->rip = svm_of(vcpu)->vmcb->rip;
    regs->rflags = svm_get_rflags(vcpu);
}

void svm_set_regs(struct virt_vcpu *vcpu, const struct kvm_regs *regs) {
    const uint64_t *in = (const uint64_t *)regs;
    for (unsigned i = 0; i < 16; i++)
        svm_write_gpr(vcpu, kvm_order[i], in[i]);
    svm_of(vcpu)->vmcb->rip = regs->rip;
    svm_set_rflags(vcpu, regs->rflags);
    // As KVM_SET_REGS: what was raised before belongs to the old state.
    vcpu->events.exception_pending = false;
}

// While the debugger steps, TF in the VMCB is the debugger's.
uint64_t svm_get_rflags(struct virt_vcpu *vcpu) {
    uint64_t rflags = svm_of(vcpu)->vmcb->rflags;
    return vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP) ? rflags & ~(uint64_t)X86_EFLAGS_TF
                                                         : rflags;
}

#define RFLAGS_DEFINED 0x3f7fd7ull // bits that may be 1 (APM vol. 2 3.1.6)

void svm_set_rflags(struct virt_vcpu *vcpu, uint64_t rflags) {
    if (vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP))
        rflags |= X86_EFLAGS_TF;
    svm_of(vcpu)->vmcb->rflags = (rflags & RFLAGS_DEFINED) | X86_EFLAGS_FIXED;
    svm_of(vcpu)->recheck_events = true;
}

// -- segments --

static struct vmcb_segment *segment_of(struct vmcb *vmcb, unsigned segment_register) {
    if (segment_register < VCPU_SEGMENT_TR)
        return &vmcb->segment[segment_register];
    return segment_register == VCPU_SEGMENT_TR ? &vmcb->tr : &vmcb->ldtr;
}

void svm_get_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     struct kvm_segment *segment) {
    struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    const struct vmcb_segment *from = segment_of(vmcb, segment_register);
    uint16_t attributes = from->attributes;
    bool present = attributes & ATTRIBUTE_P;
    *segment = (struct kvm_segment){
        .selector = from->selector,
        .base = from->base,
        .limit = from->limit,
        .type = attributes & 15,
        .s = attributes >> 4 & 1,
        .dpl = attributes >> 5 & 3,
        .present = present,
        .avl = attributes >> 8 & 1,
        .l = attributes >> 9 & 1,
        .db = attributes >> 10 & 1,
        .g = attributes >> 11 & 1,
        .unusable = !present,
    };
    // The privilege level is CPL's field; SS.DPL need not follow it (APM vol. 2 15.5.1).
    if (segment_register == SEG_SS)
        segment->dpl = vmcb->cpl;
    // Whether the task is busy or the segment accessed, the processor does not always keep.
    if (segment_register == VCPU_SEGMENT_TR)
        segment->type |= 2;
    else if (segment_register < VCPU_SEGMENT_TR && segment_register != SEG_CS && present)
        segment->type |= 1;
}

void svm_set_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     const struct kvm_segment *segment) {
    struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    bool present = segment->present && !segment->unusable;
    unsigned attributes = (segment->type & 15u) | (segment->s & 1u) << 4 |
                          (segment->dpl & 3u) << 5 | (segment->avl & 1u) << 8 |
                          (segment->l & 1u) << 9 | (segment->db & 1u) << 10 |
                          (segment->g & 1u) << 11 | (present ? ATTRIBUTE_P : 0u);
    *segment_of(vmcb, segment_register) = (struct vmcb_segment){
        .selector = segment->selector,
        .attributes = (uint16_t)attributes,
        .limit = segment->limit,
        .base = segment->base,
    };
    if (segment_register == SEG_SS)
        vmcb->cpl = segment->dpl & 3;
    vmcb_dirty(vmcb, CLEAN_SEGMENTS);
}

bool svm_code_64(const struct vmcb *vmcb) {
    return (vmcb->efer & EFER_LMA) && (vmcb->segment[SEG_CS].attributes & ATTRIBUTE_L);
}
