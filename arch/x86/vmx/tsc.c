// SPDX-License-Identifier: BSD-2-Clause
// The guest's TSC: host TSC times a ratio plus an offset, both applied by the processor (SDM vol.
// 3 25.6.5).
#include "arch/x86/vmx/vcpu.h"

#define MULTIPLIER_SHIFT 48

static uint64_t multiplier(const struct virt_vcpu *vcpu) {
    uint64_t host = time_tsc_khz();
    if (!vmx.tsc_scaling || vcpu->tsc_khz == 0 || host == 0 || vcpu->tsc_khz == host)
        return 1ull << MULTIPLIER_SHIFT;
    // tsc_khz < 2^32, so the 96-bit dividend is split to stay within 64-bit division.
    uint64_t whole = vcpu->tsc_khz / host, rest = vcpu->tsc_khz % host, fraction = 0;
    for (unsigned i = 0; i < MULTIPLIER_SHIFT; i++) {
        rest <<= 1;
        fraction = fraction << 1 | (rest >= host);
        if (rest >= host)
            rest -= host;
    }
    return whole << MULTIPLIER_SHIFT | fraction;
}

void vmx_tsc_changed(struct virt_vcpu *vcpu) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    vmcs_use(v);
    vmwrite(VMCS_TSC_OFFSET, vcpu->tsc_offset);
    uint64_t ratio = multiplier(vcpu);
    if (vmx.tsc_scaling)
        vmwrite(VMCS_TSC_MULTIPLIER, ratio);
    v->tsc_multiplier = ratio == 1ull << MULTIPLIER_SHIFT ? 0 : ratio;
}

uint64_t vmx_scaled_tsc(const struct virt_vcpu *vcpu) {
    uint64_t ratio = vmx_of(vcpu)->tsc_multiplier, tsc = read_tsc();
    return ratio ? (uint64_t)((unsigned __int128)tsc * ratio >> MULTIPLIER_SHIFT) : tsc;
}

uint64_t vmx_max_tsc_khz(void) {
    return vmx.tsc_scaling ? UINT32_MAX : 0;
}
