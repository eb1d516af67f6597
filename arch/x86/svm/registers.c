// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's registers in its VMCB.
#include "arch/x86/svm/vcpu.h"

static const uint16_t places[BACKEND_HARDWARE] = {
    [BACKEND_RIP] = offsetof(struct vmcb, rip),
    [BACKEND_RSP] = offsetof(struct vmcb, rsp),
    [BACKEND_RFLAGS] = offsetof(struct vmcb, rflags),
    [BACKEND_CR3] = offsetof(struct vmcb, cr3),
    [BACKEND_GDT_BASE] = offsetof(struct vmcb, gdtr.base),
    [BACKEND_IDT_BASE] = offsetof(struct vmcb, idtr.base),
    [BACKEND_FS_BASE] = offsetof(struct vmcb, segment[SEG_FS].base),
    [BACKEND_GS_BASE] = offsetof(struct vmcb, segment[SEG_GS].base),
    [BACKEND_SYSENTER_CS] = offsetof(struct vmcb, sysenter_cs),
    [BACKEND_SYSENTER_ESP] = offsetof(struct vmcb, sysenter_esp),
    [BACKEND_SYSENTER_EIP] = offsetof(struct vmcb, sysenter_eip),
    [BACKEND_PAT] = offsetof(struct vmcb, pat),
    [BACKEND_KERNEL_GS_BASE] = offsetof(struct vmcb, kernel_gs_base),
    [BACKEND_STAR] = offsetof(struct vmcb, star),
    [BACKEND_LSTAR] = offsetof(struct vmcb, lstar),
    [BACKEND_SYSCALL_MASK] = offsetof(struct vmcb, syscall_mask),
    [BACKEND_CSTAR] = offsetof(struct vmcb, cstar),
};

uint64_t svm_get(struct virt_vcpu *vcpu, enum backend_register which) {
    const struct svm_vcpu *v = svm_of(vcpu);
    switch (which) {
    case BACKEND_CPL:
        return v->vmcb->cpl;
    case BACKEND_CR0:
        return svm_get_cr0(v);
    case BACKEND_CR4:
        return v->cr4;
    case BACKEND_GDT_LIMIT:
        return v->vmcb->gdtr.limit;
    case BACKEND_IDT_LIMIT:
        return v->vmcb->idtr.limit;
    case BACKEND_EFER:
        return v->vmcb->efer & ~EFER_SVME;
    case BACKEND_TSC_AUX:
        return v->tsc_aux;
    default:
        return *(const uint64_t *)((const char *)v->vmcb + places[which]);
    }
}

void svm_get_state(struct virt_vcpu *vcpu, struct virt_state *state) {
    const struct svm_vcpu *v = svm_of(vcpu);
    const struct vmcb *vmcb = v->vmcb;
    const struct vmcb_segment *code = &vmcb->segment[SEG_CS];
    state->paging.cr0 = svm_get_cr0(v);
    state->paging.cr3 = vmcb->cr3;
    state->paging.cr4 = v->cr4;
    state->paging.efer = vmcb->efer & ~EFER_SVME;
    state->paging.rflags = vmcb->rflags;
    state->paging.cpl = vmcb->cpl;
    state->rip = vmcb->rip;
    state->rsp = vmcb->rsp;
    state->code_base = code->base;
    state->code_long = code->attributes & VMCB_ATTRIBUTE_L;
    state->code_32 = code->attributes & VMCB_ATTRIBUTE_DB;
    state->interrupt_shadow = vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW;
}

static void set_tsc_aux(struct virt_vcpu *vcpu, uint64_t value) {
    svm_of(vcpu)->tsc_aux = value;
    if (svm.rdtscp && atomic_load(&vcpu->in_guest)) // switched at the run's ends
        write_msr(MSR_TSC_AUX, value);
}

void svm_set(struct virt_vcpu *vcpu, enum backend_register which, uint64_t value) {
    struct svm_vcpu *v = svm_of(vcpu);
    switch (which) {
    case BACKEND_CR0:
        svm_write_cr0(vcpu, value);
        break;
    case BACKEND_CR4:
        svm_write_cr4(vcpu, value);
        break;
    case BACKEND_GDT_LIMIT:
        v->vmcb->gdtr.limit = (uint32_t)value;
        break;
    case BACKEND_IDT_LIMIT:
        v->vmcb->idtr.limit = (uint32_t)value;
        break;
    case BACKEND_EFER:
        svm_write_efer(vcpu, value);
        break;
    case BACKEND_TSC_AUX:
        set_tsc_aux(vcpu, value);
        return;
    default:
        *(uint64_t *)((char *)v->vmcb + places[which]) = value;
        break;
    }
    if (which > BACKEND_RFLAGS) // the first three are not cached
        vmcb_dirty(v->vmcb, CLEAN_CONTROL | CLEAN_TABLES | CLEAN_NESTED);
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
    uint16_t attributes = (from->attributes & 0xff) | (uint16_t)((from->attributes & 0xf00) << 4);
    *segment = vcpu_segment(from->selector, from->base, from->limit, attributes);
    // The privilege level is CPL's field; SS.DPL need not follow it (APM vol. 2 15.5.1).
    if (segment_register == SEG_SS)
        segment->dpl = vmcb->cpl;
    // Whether the task is busy or the segment accessed, the processor does not always keep.
    if (segment_register == VCPU_SEGMENT_TR)
        segment->type |= 2;
    else if (segment_register < VCPU_SEGMENT_TR && segment_register != SEG_CS && segment->present)
        segment->type |= 1;
}

void svm_set_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     const struct kvm_segment *segment) {
    struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    uint16_t attributes = vcpu_segment_attributes(segment);
    *segment_of(vmcb, segment_register) = (struct vmcb_segment){
        .selector = segment->selector,
        .attributes = (attributes & 0xff) | (attributes >> 4 & 0xf00),
        .limit = segment->limit,
        .base = segment->base,
    };
    if (segment_register == SEG_SS)
        vmcb->cpl = segment->dpl & 3;
    vmcb_dirty(vmcb, CLEAN_SEGMENTS);
}

bool svm_code_64(const struct vmcb *vmcb) {
    return (vmcb->efer & EFER_LMA) && (vmcb->segment[SEG_CS].attributes & VMCB_ATTRIBUTE_L);
}

void svm_adopt_xcr0(struct virt_vcpu *vcpu) {
    uint64_t value = read_xcr0();
    if (__builtin_expect(value != vcpu->xcr0, 0) && virt_set_xcr0(vcpu, value))
        write_xcr0(vcpu->xcr0);
}
