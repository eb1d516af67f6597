// SPDX-License-Identifier: BSD-2-Clause
// The guest's TSC: host TSC times a ratio plus an offset, both applied by the processor (SDM vol. 3
// 25.6.5, APM vol. 2 15.30.5).
#include "arch/x86/virt.h"

static uint64_t ratio_of(uint64_t khz, uint64_t host) {
    // khz < 2^32, so the 96-bit dividend is split to stay within 64-bit division.
    uint64_t whole = khz / host, rest = khz % host, fraction = 0;
    for (unsigned i = 0; i < virt->tsc_fraction_bits; i++) {
        rest <<= 1;
        fraction = fraction << 1 | (rest >= host);
        if (rest >= host)
            rest -= host;
    }
    return whole << virt->tsc_fraction_bits | fraction;
}

void virt_tsc_changed(struct virt_vcpu *vcpu) {
    uint64_t host = time_tsc_khz(), khz = vcpu->tsc_khz;
    bool scaled = *virt->tsc_scaling && khz && host && khz != host;
    vcpu->tsc_ratio = scaled ? ratio_of(khz, host) : 0;
    virt->tsc_changed(vcpu);
}

uint64_t virt_scaled_tsc(const struct virt_vcpu *vcpu) {
    uint64_t ratio = vcpu->tsc_ratio, tsc = read_tsc();
    return ratio ? (uint64_t)((unsigned __int128)tsc * ratio >> virt->tsc_fraction_bits) : tsc;
}

uint64_t virt_guest_tsc(const struct virt_vcpu *vcpu) {
    return virt_scaled_tsc(vcpu) + vcpu->tsc_offset;
}

uint64_t virt_max_tsc_khz(void) {
    uint64_t largest = time_tsc_khz() * ((1u << virt->tsc_integer_bits) - 1);
    return !*virt->tsc_scaling ? 0 : largest < UINT32_MAX ? largest : UINT32_MAX;
}
