// SPDX-License-Identifier: BSD-2-Clause
// The AMD-V back end as struct virt_ops.
#include <asm/svm.h>
#include "arch/x86/mm/page_format.h"
#include "arch/x86/svm/vcpu.h"
#include "core/string.h"

static void describe(char *out, size_t size) {
    svm_capabilities_describe(&svm, out, size);
}

// INVPCID needs no control: with nested paging it touches the guest's own ASID only.
static void cpuid_host(struct cpuid_host *host) {
    host->rdtscp = svm.rdtscp;
    host->invpcid = true;
    host->xsaves = svm.xsaves;
    host->spec_ctrl = svm.spec_ctrl;
}

static void reset(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->vmcb->event = v->vmcb->exit_event = 0;
    v->next_rip = 0;
    v->after_exit = 0;
    v->soft_advance = 0;
}

// One bit for both kinds (APM vol. 2 15.21.5).
static unsigned get_interrupt_shadow(struct virt_vcpu *vcpu) {
    bool shadow = svm_of(vcpu)->vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW;
    return shadow ? KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0;
}

static void set_interrupt_shadow(struct virt_vcpu *vcpu, unsigned shadow) {
    svm_of(vcpu)->vmcb->interrupt_shadow = shadow ? IN_INTERRUPT_SHADOW : 0;
    vcpu->recheck_events = true;
}

static bool get_nmi_masked(struct virt_vcpu *vcpu) {
    return nmi_masked(svm_of(vcpu));
}

static void set_nmi_masked(struct virt_vcpu *vcpu, bool masked) {
    nmi_set_masked(svm_of(vcpu), masked);
}

// With decode assists a nested page fault brings the instruction (APM vol. 2 15.33.4).
static unsigned instruction_bytes(struct virt_vcpu *vcpu, uint8_t *bytes) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    if (!svm.decode_assists || vmcb->exit_code != SVM_EXIT_NPF)
        return 0;
    unsigned count = vmcb->instruction_count & 15;
    memcpy(bytes, vmcb->instruction, count);
    return count;
}

static void smm_changed(struct virt_vcpu *vcpu) {
    struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    vmcb->nested_cr3 = vcpu->vm->stage2_root[vcpu->in_smm];
    vmcb_dirty(vmcb, CLEAN_NESTED);
    vcpu->flush_tlb = true;
}

static void tsc_changed(struct virt_vcpu *vcpu) {
    svm_of(vcpu)->vmcb->tsc_offset = vcpu->tsc_offset;
    vmcb_dirty(svm_of(vcpu)->vmcb, CLEAN_INTERCEPTS);
}

static void msr_filter_changed(struct virt_vcpu *vcpu, bool intercept_all) {
    struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    vmcb->msr_map = intercept_all ? svm_msr_map_all : svm_msr_map;
    vmcb_dirty(vmcb, CLEAN_MAPS);
}

const struct virt_ops svm_ops = {
    .name = "AMD-V",
    .hypercall_opcode = 0xd9,
    .stage2_format = &npt_format,
    .vcpu_size = sizeof(struct svm_vcpu),
    .tsc_integer_bits = 8,
    .tsc_fraction_bits = TSC_RATIO_FRACTION,
    .tsc_scaling = &svm.tsc_ratio,
    .describe = describe,
    .cpuid_host = cpuid_host,
    .cpu_enable = svm_cpu_enable,
    .vcpu_create = vmcb_create,
    .vcpu_destroy = vmcb_destroy,
    .vcpu_reset = reset,
    .run = svm_run,
    .get = svm_get,
    .get_state = svm_get_state,
    .set = svm_set,
    .get_segment = svm_get_segment,
    .set_segment = svm_set_segment,
    .get_interrupt_shadow = get_interrupt_shadow,
    .set_interrupt_shadow = set_interrupt_shadow,
    .get_nmi_masked = get_nmi_masked,
    .set_nmi_masked = set_nmi_masked,
    .skip_instruction = svm_skip,
    .instruction_bytes = instruction_bytes,
    .smm_changed = smm_changed,
    .debug_changed = svm_debug_changed,
    .tsc_changed = tsc_changed,
    .msr_filter_changed = msr_filter_changed,
};
