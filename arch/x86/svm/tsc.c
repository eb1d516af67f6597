// SPDX-License-Identifier: BSD-2-Clause
// The guest's TSC: host TSC times a ratio plus an offset, both applied by the processor (APM vol. 2
// 15.30.5).
#include "arch/x86/svm/vcpu.h"

#define RATIO_SHIFT   32
#define RATIO_LARGEST 255 // the integer part has eight bits

static uint64_t ratio_of(const struct virt_vcpu *vcpu) {
    uint64_t host = time_tsc_khz();
    if (!svm.tsc_ratio || vcpu->tsc_khz == 0 || host == 0 || vcpu->tsc_khz == host)
        return TSC_RATIO_ONE;
    // tsc_khz < 2^32, so the quotient needs no more than 64 bits.
    return ((uint64_t)vcpu->tsc_khz << RATIO_SHIFT) / host;
}

void svm_tsc_changed(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = svm_of(vcpu);
    uint64_t ratio = ratio_of(vcpu);
    v->vmcb->tsc_offset = vcpu->tsc_offset;
    vmcb_dirty(v->vmcb, CLEAN_INTERCEPTS);
    v->tsc_ratio = ratio == TSC_RATIO_ONE ? 0 : ratio;
}

uint64_t svm_scaled_tsc(const struct virt_vcpu *vcpu) {
    uint64_t ratio = svm_of(vcpu)->tsc_ratio, tsc = read_tsc();
    return ratio ? (uint64_t)((unsigned __int128)tsc * ratio >> RATIO_SHIFT) : tsc;
}

uint64_t svm_max_tsc_khz(void) {
    uint64_t largest = time_tsc_khz() * RATIO_LARGEST;
    return !svm.tsc_ratio ? 0 : largest < UINT32_MAX ? largest : UINT32_MAX;
}
