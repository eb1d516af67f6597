// SPDX-License-Identifier: BSD-2-Clause
// The VT-x back end as struct virt_ops.
#include "arch/x86/mm/page_format.h"
#include "arch/x86/vmx/vcpu.h"

static void describe(char *out, size_t size) {
    vmx_capabilities_describe(&vmx, out, size);
}

static void cpuid_host(struct cpuid_host *host) {
    host->rdtscp = vmx.rdtscp;
    host->invpcid = vmx.invpcid;
    host->xsaves = vmx.xsaves;
}

static void reset(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_GUEST_DEBUGCTL, 0);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_ACTIVITY, 0);
    vmwrite(VMCS_ENTRY_INTERRUPTION, 0);
}

static void set_pdptes(struct virt_vcpu *vcpu, const uint64_t pdpte[4]) {
    vmcs_use(vmx_of(vcpu));
    for (unsigned i = 0; i < 4; i++)
        vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, pdpte[i]);
}

static uint64_t interruptibility(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    return vmread(VMCS_GUEST_INTERRUPTIBILITY);
}

static void set_interruptibility(struct virt_vcpu *vcpu, uint64_t set, uint64_t clear) {
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, (interruptibility(vcpu) & ~clear) | set);
    vcpu->recheck_events = true;
}

static unsigned get_interrupt_shadow(struct virt_vcpu *vcpu) {
    uint64_t state = interruptibility(vcpu);
    return (state & BLOCKING_STI ? KVM_X86_SHADOW_INT_STI : 0) |
           (state & BLOCKING_MOV_SS ? KVM_X86_SHADOW_INT_MOV_SS : 0);
}

// STI and MOV SS blocking exclude each other (SDM vol. 3 27.3.1.5).
static void set_interrupt_shadow(struct virt_vcpu *vcpu, unsigned shadow) {
    uint64_t set = shadow & KVM_X86_SHADOW_INT_MOV_SS ? BLOCKING_MOV_SS
                   : shadow & KVM_X86_SHADOW_INT_STI  ? BLOCKING_STI
                                                      : 0;
    set_interruptibility(vcpu, set, BLOCKING_STI | BLOCKING_MOV_SS);
}

static bool get_nmi_masked(struct virt_vcpu *vcpu) {
    return interruptibility(vcpu) & BLOCKING_NMI;
}

static void set_nmi_masked(struct virt_vcpu *vcpu, bool masked) {
    set_interruptibility(vcpu, masked ? BLOCKING_NMI : 0, BLOCKING_NMI);
}

static void skip_instruction(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    vmx_skip(vcpu);
}

static void debug_changed(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_GUEST_DR7, vcpu_breakpoint_control(vcpu));
    vmwrite(VMCS_EXCEPTION_BITMAP, vcpu_debug_exceptions(vcpu));
    vcpu_step(vcpu);
}

#define MULTIPLIER_FRACTION 48 // SDM vol. 3 25.6.5

static void smm_changed(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_EPT_POINTER, vcpu->vm->stage2_root[vcpu->in_smm] | vmx.ept_pointer_bits);
}

static void tsc_changed(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_TSC_OFFSET, vcpu->tsc_offset);
    if (vmx.tsc_scaling)
        vmwrite(VMCS_TSC_MULTIPLIER,
                vcpu->tsc_ratio ? vcpu->tsc_ratio : 1ull << MULTIPLIER_FRACTION);
}

static void msr_filter_changed(struct virt_vcpu *vcpu, bool intercept_all) {
    vmcs_use(vmx_of(vcpu));
    vmwrite(VMCS_MSR_BITMAP, intercept_all ? vmx_msr_bitmap_all : vmx_msr_bitmap);
}

const struct virt_ops vmx_ops = {
    .name = "VT-x",
    .hypercall_opcode = 0xc1,
    .stage2_format = &ept_format,
    .vcpu_size = sizeof(struct vmx_vcpu),
    .tsc_integer_bits = 64 - MULTIPLIER_FRACTION,
    .tsc_fraction_bits = MULTIPLIER_FRACTION,
    .tsc_scaling = &vmx.tsc_scaling,
    .describe = describe,
    .cpuid_host = cpuid_host,
    .cpu_enable = vmx_cpu_enable,
    .vcpu_create = vmcs_create,
    .vcpu_destroy = vmcs_destroy,
    .vcpu_reset = reset,
    .run = vmx_run,
    .get = vmx_get,
    .get_state = vmx_get_state,
    .set = vmx_set,
    .get_segment = vmx_get_segment,
    .set_segment = vmx_set_segment,
    .set_pdptes = set_pdptes,
    .get_interrupt_shadow = get_interrupt_shadow,
    .set_interrupt_shadow = set_interrupt_shadow,
    .get_nmi_masked = get_nmi_masked,
    .set_nmi_masked = set_nmi_masked,
    .skip_instruction = skip_instruction,
    .smm_changed = smm_changed,
    .debug_changed = debug_changed,
    .tsc_changed = tsc_changed,
    .log_writes = vmx_log_writes,
    .msr_filter_changed = msr_filter_changed,
    .user_return = vmx_user_return,
    .leave_cpu = vmcs_leave_cpu,
};
