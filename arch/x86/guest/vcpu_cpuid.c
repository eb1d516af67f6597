// SPDX-License-Identifier: BSD-2-Clause
// What follows when registers that CPUID reports change: OSXSAVE, XSAVE sizes, APIC; and XCR0's
// rules.
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/virt.h"

void virt_cpuid_update(struct virt_vcpu *vcpu) {
    const struct cpuid_dynamic dynamic = {
        .cr4 = virt->get_cr4(vcpu),
        .xcr0 = vcpu->xcr0,
        .xss = vcpu->guest_fpu.xss,
        .apic_base = vcpu->irqchip ? vcpu->lapic.base : vcpu->msrs.apic_base,
        .misc_enable = vcpu->msrs.misc_enable,
    };
    guest_cpuid_update(&vcpu->cpuid, &dynamic);
}

enum {
    XCR0_X87 = 1 << 0,
    XCR0_SSE = 1 << 1,
    XCR0_AVX = 1 << 2,
    XCR0_MPX = 3 << 3,
    XCR0_AVX512 = 7 << 5,
    XCR0_AMX = 3 << 17,
};

// SDM vol. 1 13.3 and vol. 2 XSETBV.
static bool xcr0_valid(const struct virt_vcpu *vcpu, uint64_t xcr0) {
    uint64_t allowed = vcpu->cpuid.xcr0_allowed | XCR0_X87;
    if (!(xcr0 & XCR0_X87) || (xcr0 & ~allowed))
        return false;
    if ((xcr0 & XCR0_AVX) && !(xcr0 & XCR0_SSE))
        return false;
    if ((xcr0 & XCR0_MPX) && (xcr0 & XCR0_MPX) != XCR0_MPX)
        return false;
    if ((xcr0 & XCR0_AVX512) && ((xcr0 & XCR0_AVX512) != XCR0_AVX512 || !(xcr0 & XCR0_AVX)))
        return false;
    return !(xcr0 & XCR0_AMX) || (xcr0 & XCR0_AMX) == XCR0_AMX;
}

int virt_set_xcr0(struct virt_vcpu *vcpu, uint64_t xcr0) {
    if (!xcr0_valid(vcpu, xcr0))
        return -EINVAL;
    vcpu->xcr0 = xcr0;
    vcpu->guest_fpu.xcr0 = xcr0;
    virt_cpuid_update(vcpu);
    return 0;
}
