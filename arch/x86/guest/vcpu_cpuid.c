// SPDX-License-Identifier: BSD-2-Clause
// What follows when registers that CPUID reports change: OSXSAVE, XSAVE sizes, APIC; and XCR0's
// rules.
#include <asm/errno.h>
#include "arch/x86/virt.h"

void virt_cpuid_apply(struct virt_vcpu *vcpu, struct guest_cpuid *cpuid) {
    const struct cpuid_dynamic dynamic = {
        .cr4 = virt->get(vcpu, BACKEND_CR4),
        .xcr0 = vcpu->xcr0,
        .xss = vcpu->guest_fpu.xss,
        .apic_base = vcpu->irqchip ? vcpu->lapic.base : vcpu->msrs.apic_base,
        .misc_enable = vcpu->msrs.misc_enable,
        .mwait_follows = vcpu->vm->disabled_quirks & KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT,
        .halts_inside = vcpu->vm->disabled_exits & KVM_X86_DISABLE_EXITS_HLT,
    };
    guest_cpuid_update(cpuid, &dynamic);
}

void virt_cpuid_update(struct virt_vcpu *vcpu) {
    virt_cpuid_apply(vcpu, &vcpu->cpuid);
}

void virt_cpuid_changed(struct virt_vcpu *vcpu) {
    struct guest_cpuid *cpuid = &vcpu->cpuid;
    // What a table offers beyond the processor would fault where the host loads it.
    cpuid->xcr0_allowed &= virt_host.xcr0;
    cpuid->xss_allowed &= virt_host.xss;
    if (cpuid->linear_bits > virt_host.linear_bits)
        cpuid->linear_bits = virt_host.linear_bits;
    virt->set(vcpu, BACKEND_CR4, virt->get(vcpu, BACKEND_CR4)); // which bits the guest owns
    virt_cpuid_update(vcpu);
}

int virt_set_xcr0(struct virt_vcpu *vcpu, uint64_t xcr0) {
    if (!guest_cpuid_xcr0_valid(&vcpu->cpuid, xcr0))
        return -EINVAL;
    vcpu->xcr0 = xcr0;
    vcpu->guest_fpu.xcr0 = xcr0;
    virt_cpuid_update(vcpu);
    return 0;
}
