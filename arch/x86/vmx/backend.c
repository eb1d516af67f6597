// SPDX-License-Identifier: BSD-2-Clause
// The VT-x back end as struct virt_ops.
#include <asm/errno.h>
#include "arch/x86/mm/page_format.h"
#include "arch/x86/vmx/vcpu.h"
#include "core/mm/heap.h"
#include "core/string.h"

static void describe(char *out, size_t size) {
    vmx_capabilities_describe(&vmx, out, size);
}

static int vcpu_create(struct virt_vcpu *vcpu) {
    struct vmx_vcpu *v = heap_new(struct vmx_vcpu);
    if (!v)
        return -ENOMEM;
    int error = vmcs_create(vcpu, v);
    if (error) {
        heap_free(v);
        return error;
    }
    vcpu->backend = v;
    vmx_tsc_changed(vcpu);
    vmx_reset(vcpu, false);
    return 0;
}

static void vcpu_destroy(struct virt_vcpu *vcpu) {
    vmcs_destroy(vmx_of(vcpu));
    heap_free(vcpu->backend);
    vcpu->backend = NULL;
}

static uint64_t get_field(struct virt_vcpu *vcpu, enum vmcs_field field) {
    vmcs_use(vmx_of(vcpu));
    return vmread(field);
}

static void set_field(struct virt_vcpu *vcpu, enum vmcs_field field, uint64_t value) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(field, value);
}

static uint64_t get_rip(struct virt_vcpu *vcpu) {
    return get_field(vcpu, VMCS_GUEST_RIP);
}

static void set_rip(struct virt_vcpu *vcpu, uint64_t rip) {
    set_field(vcpu, VMCS_GUEST_RIP, rip);
}

static uint64_t get_rsp(struct virt_vcpu *vcpu) {
    return get_field(vcpu, VMCS_GUEST_RSP);
}

static void set_rsp(struct virt_vcpu *vcpu, uint64_t rsp) {
    set_field(vcpu, VMCS_GUEST_RSP, rsp);
}

static unsigned get_interrupt_shadow(struct virt_vcpu *vcpu) {
    uint64_t state = get_field(vcpu, VMCS_GUEST_INTERRUPTIBILITY);
    return (state & BLOCKING_STI ? KVM_X86_SHADOW_INT_STI : 0) |
           (state & BLOCKING_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
}

static void set_interruptibility(struct virt_vcpu *vcpu, uint64_t set, uint64_t clear) {
    uint64_t state = get_field(vcpu, VMCS_GUEST_INTERRUPTIBILITY);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, (state & ~clear) | set);
    vmx_of(vcpu)->recheck_events = true;
}

// STI and MOV SS blocking exclude each other (SDM vol. 3 27.3.1.5).
static void set_interrupt_shadow(struct virt_vcpu *vcpu, unsigned shadow) {
    uint64_t set = shadow & KVM_X86_SHADOW_INT_MOV_SS ? BLOCKING_MOV_SS
                   : shadow & KVM_X86_SHADOW_INT_STI  ? BLOCKING_STI
                                                      : 0;
    set_interruptibility(vcpu, set, BLOCKING_STI | BLOCKING_MOV_SS);
}

static bool get_nmi_masked(struct virt_vcpu *vcpu) {
    return get_field(vcpu, VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_NMI;
}

static void set_nmi_masked(struct virt_vcpu *vcpu, bool masked) {
    set_interruptibility(vcpu, masked ? BLOCKING_NMI : 0, BLOCKING_NMI);
}

static void skip_instruction(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    vmx_skip();
}

// VT-x has no decode assists: only lengths.
static unsigned instruction_bytes(struct virt_vcpu *vcpu, uint8_t *bytes) {
    (void)vcpu;
    (void)bytes;
    return 0;
}

static void cpuid_changed(struct virt_vcpu *vcpu) {
    vmx_update_cr4_mask(vcpu);
    virt_cpuid_update(vcpu);
}

static void smm_changed(struct virt_vcpu *vcpu) {
    set_field(vcpu, VMCS_EPT_POINTER, vcpu->vm->stage2_root[vcpu->in_smm] | vmx.ept_pointer_bits);
    vmx_debug_changed(vcpu);
}

static void flush_guest_tlb(struct virt_vcpu *vcpu) {
    vmx_of(vcpu)->flush_tlb = true;
}

static void msr_filter_changed(struct virt_vcpu *vcpu, bool intercept_all) {
    set_field(vcpu, VMCS_MSR_BITMAP, intercept_all ? vmx_msr_bitmap_all : vmx_msr_bitmap);
}

static void cpuid_host(struct cpuid_host *host) {
    host->rdtscp = vmx.rdtscp;
    host->invpcid = vmx.invpcid;
    host->xsaves = vmx.xsaves;
    host->spec_ctrl = vmx.spec_ctrl;
}

static int msr_command(struct virt_vcpu *vcpu, uint32_t index, uint64_t value) {
    (void)vcpu;
    if ((index == MSR_PRED_CMD && !vmx.spec_ctrl) || (index == MSR_FLUSH_CMD && !vmx.flush_l1d) ||
        (value & ~1ull))
        return -1;
    write_msr(index, value);
    return 0;
}

// Only MSRs that CPUID vouches for are read: others may fault.
static uint64_t host_msr(uint32_t index) {
    return index == MSR_ARCH_CAPABILITIES && vmx.arch_capabilities ? read_msr(index) : 0;
}

const struct virt_ops vmx_ops = {
    .name = "VT-x",
    .hypercall_opcode = 0xc1,
    .stage2_format = &ept_format,
    .describe = describe,
    .cpu_enable = vmx_cpu_enable,
    .cpu_disable = vmx_cpu_disable,
    .vcpu_create = vcpu_create,
    .vcpu_destroy = vcpu_destroy,
    .vcpu_reset = vmx_reset,
    .run = vmx_run,
    .get_regs = vmx_get_regs,
    .set_regs = vmx_set_regs,
    .get_sregs = vmx_get_sregs,
    .set_sregs = vmx_set_sregs,
    .get_segment = vmx_get_segment,
    .get_rip = get_rip,
    .set_rip = set_rip,
    .get_rflags = vmx_get_rflags,
    .set_rflags = vmx_set_rflags,
    .get_rsp = get_rsp,
    .set_rsp = set_rsp,
    .get_cpl = vmx_get_cpl,
    .get_interrupt_shadow = get_interrupt_shadow,
    .set_interrupt_shadow = set_interrupt_shadow,
    .get_nmi_masked = get_nmi_masked,
    .set_nmi_masked = set_nmi_masked,
    .get_paging = vmx_get_paging,
    .skip_instruction = skip_instruction,
    .instruction_bytes = instruction_bytes,
    .interrupt_allowed = vmx_interrupt_allowed,
    .smm_changed = smm_changed,
    .debug_changed = vmx_debug_changed,
    .cpuid_changed = cpuid_changed,
    .tsc_changed = vmx_tsc_changed,
    .log_writes = vmx_log_writes,
    .flush_guest_tlb = flush_guest_tlb,
    .msr_filter_changed = msr_filter_changed,
    .max_tsc_khz = vmx_max_tsc_khz,
    .cpuid_host = cpuid_host,
    .get_msr = vmx_msr_get,
    .set_msr = vmx_msr_set,
    .msr_command = msr_command,
    .host_msr = host_msr,
    .scaled_tsc = vmx_scaled_tsc,
    .user_return = vmx_user_return,
    .get_cr4 = vmx_get_cr4,
};
