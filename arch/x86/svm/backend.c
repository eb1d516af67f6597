// SPDX-License-Identifier: BSD-2-Clause
// The AMD-V back end as struct virt_ops.
#include <asm/errno.h>
#include <asm/svm.h>
#include "arch/x86/mm/page_format.h"
#include "arch/x86/svm/vcpu.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/string.h"

static void describe(char *out, size_t size) {
    svm_capabilities_describe(&svm, out, size);
}

static int vcpu_create(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = heap_new(struct svm_vcpu);
    if (!v)
        return -ENOMEM;
    int error = vmcb_create(vcpu, v);
    if (error) {
        heap_free(v);
        return error;
    }
    vcpu->backend = v;
    svm_tsc_changed(vcpu);
    svm_reset(vcpu, false);
    return 0;
}

static void vcpu_destroy(struct virt_vcpu *vcpu) {
    vmcb_destroy(svm_of(vcpu));
    heap_free(vcpu->backend);
    vcpu->backend = NULL;
}

static uint64_t get_rip(struct virt_vcpu *vcpu) {
    return svm_of(vcpu)->vmcb->rip;
}

static void set_rip(struct virt_vcpu *vcpu, uint64_t rip) {
    svm_of(vcpu)->vmcb->rip = rip;
}

static uint64_t get_rsp(struct virt_vcpu *vcpu) {
    return svm_of(vcpu)->vmcb->rsp;
}

static void set_rsp(struct virt_vcpu *vcpu, uint64_t rsp) {
    svm_of(vcpu)->vmcb->rsp = rsp;
}

static unsigned get_cpl(struct virt_vcpu *vcpu) {
    return svm_of(vcpu)->vmcb->cpl;
}

// One bit for both kinds (APM vol. 2 15.21.5).
static unsigned get_interrupt_shadow(struct virt_vcpu *vcpu) {
    bool shadow = svm_of(vcpu)->vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW;
    return shadow ? KVM_X86_SHADOW_INT_STI | KVM_X86_SHADOW_INT_MOV_SS : 0;
}

static void set_interrupt_shadow(struct virt_vcpu *vcpu, unsigned shadow) {
    svm_of(vcpu)->vmcb->interrupt_shadow = shadow ? IN_INTERRUPT_SHADOW : 0;
    svm_of(vcpu)->recheck_events = true;
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

static void cpuid_changed(struct virt_vcpu *vcpu) {
    virt_cpuid_update(vcpu);
}

static void smm_changed(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->vmcb->nested_cr3 = vcpu->vm->stage2_root[vcpu->in_smm];
    vmcb_dirty(v->vmcb, CLEAN_NESTED);
    v->flush_tlb = true;
}

static void flush_guest_tlb(struct virt_vcpu *vcpu) {
    svm_of(vcpu)->flush_tlb = true;
}

static void msr_filter_changed(struct virt_vcpu *vcpu, bool intercept_all) {
    struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    vmcb->msr_map = intercept_all ? svm_msr_map_all : svm_msr_map;
    vmcb_dirty(vmcb, CLEAN_MAPS);
}

#define CPUID_1G_PAGES (1u << 26) // CPUID.8000_0001H:EDX

// INVPCID needs no control: with nested paging it touches the guest's own ASID only.
static void cpuid_host(struct cpuid_host *host) {
    host->rdtscp = svm.rdtscp;
    host->invpcid = true;
    host->xsaves = svm.xsaves;
    host->spec_ctrl = svm.spec_ctrl;
}

static int msr_command(struct virt_vcpu *vcpu, uint32_t index, uint64_t value) {
    (void)vcpu;
    if (index != MSR_PRED_CMD || !svm.spec_ctrl || (value & ~1ull))
        return -1;
    write_msr(index, value);
    return 0;
}

// None of the feature MSRs that guests are shown exists on AMD.
static uint64_t host_msr(uint32_t index) {
    (void)index;
    return 0;
}

// Everything of the guest's leaves the CPU with the exit or the run.
static void user_return(void) {
}

static uint64_t get_cr4(struct virt_vcpu *vcpu) {
    return svm_of(vcpu)->cr4;
}

const struct virt_ops svm_ops = {
    .name = "AMD-V",
    .hypercall_opcode = 0xd9,
    .stage2_format = &npt_format,
    .describe = describe,
    .cpu_enable = svm_cpu_enable,
    .cpu_disable = svm_cpu_disable,
    .vcpu_create = vcpu_create,
    .vcpu_destroy = vcpu_destroy,
    .vcpu_reset = svm_reset,
    .run = svm_run,
    .get_regs = svm_get_regs,
    .set_regs = svm_set_regs,
    .get_sregs = svm_get_sregs,
    .set_sregs = svm_set_sregs,
    .get_segment = svm_get_segment,
    .get_rip = get_rip,
    .set_rip = set_rip,
    .get_rflags = svm_get_rflags,
    .set_rflags = svm_set_rflags,
    .get_rsp = get_rsp,
    .set_rsp = set_rsp,
    .get_cpl = get_cpl,
    .get_interrupt_shadow = get_interrupt_shadow,
    .set_interrupt_shadow = set_interrupt_shadow,
    .get_nmi_masked = get_nmi_masked,
    .set_nmi_masked = set_nmi_masked,
    .get_paging = svm_get_paging,
    .skip_instruction = svm_skip,
    .instruction_bytes = instruction_bytes,
    .interrupt_allowed = svm_interrupt_allowed,
    .smm_changed = smm_changed,
    .debug_changed = svm_debug_changed,
    .cpuid_changed = cpuid_changed,
    .tsc_changed = svm_tsc_changed,
    .flush_guest_tlb = flush_guest_tlb,
    .msr_filter_changed = msr_filter_changed,
    .max_tsc_khz = svm_max_tsc_khz,
    .cpuid_host = cpuid_host,
    .get_msr = svm_msr_get,
    .set_msr = svm_msr_set,
    .msr_command = msr_command,
    .host_msr = host_msr,
    .scaled_tsc = svm_scaled_tsc,
    .user_return = user_return,
    .get_cr4 = get_cr4,
};
