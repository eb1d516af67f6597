// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's x87, SSE and extended state: the area is XSAVE's standard format (SDM vol. 1 13.4), so
// most is a copy.
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "core/string.h"

#define XSTATE_X87    1ull
#define XSTATE_SSE    2ull
#define XSTATE_AVX    4ull
#define FCW_INITIAL   0x37f
#define MXCSR_INITIAL 0x1f80

// XSAVE leaves parts alone whose state is initial; gives them their values so that they can be
// copied (SDM vol. 1 13.6).
static void make_explicit(struct _xstate *area) {
    struct _fpstate *legacy = &area->fpstate;
    if (!(area->xstate_hdr.xfeatures & XSTATE_X87)) {
        legacy->cwd = FCW_INITIAL;
        legacy->swd = legacy->twd = legacy->fop = 0;
        legacy->rip = legacy->rdp = 0;
        memset(legacy->st_space, 0, sizeof(legacy->st_space));
    }
    if (!(area->xstate_hdr.xfeatures & XSTATE_SSE))
        memset(legacy->xmm_space, 0, sizeof(legacy->xmm_space));
    if (!(area->xstate_hdr.xfeatures & (XSTATE_SSE | XSTATE_AVX)))
        legacy->mxcsr = MXCSR_INITIAL;
}

int vcpu_get_fpu(struct vcpu *vcpu, struct kvm_fpu *fpu) {
    struct _xstate *area = vcpu->virt.guest_fpu.area;
    struct _fpstate *legacy = &area->fpstate;
    make_explicit(area);
    memcpy(fpu->fpr, legacy->st_space, sizeof(fpu->fpr));
    fpu->fcw = legacy->cwd;
    fpu->fsw = legacy->swd;
    fpu->ftwx = legacy->twd;
    fpu->last_opcode = legacy->fop;
    fpu->last_ip = legacy->rip;
    fpu->last_dp = legacy->rdp;
    memcpy(fpu->xmm, legacy->xmm_space, sizeof(legacy->xmm_space));
    fpu->mxcsr = legacy->mxcsr;
    return 0;
}

static uint32_t mxcsr_allowed(const struct _xstate *area) {
    return area->fpstate.mxcsr_mask ? area->fpstate.mxcsr_mask : 0xffbf; // SDM vol. 1 11.6.6
}

int vcpu_set_fpu(struct vcpu *vcpu, const struct kvm_fpu *fpu) {
    struct _xstate *area = vcpu->virt.guest_fpu.area;
    struct _fpstate *legacy = &area->fpstate;
    memcpy(legacy->st_space, fpu->fpr, sizeof(fpu->fpr));
    legacy->cwd = fpu->fcw;
    legacy->swd = fpu->fsw;
    legacy->twd = fpu->ftwx;
    legacy->fop = fpu->last_opcode;
    legacy->rip = fpu->last_ip;
    legacy->rdp = fpu->last_dp;
    memcpy(legacy->xmm_space, fpu->xmm, sizeof(legacy->xmm_space));
    legacy->mxcsr = fpu->mxcsr & mxcsr_allowed(area); // a reserved bit would fault in our XRSTOR
    area->xstate_hdr.xfeatures |= XSTATE_X87 | XSTATE_SSE;
    return 0;
}

int vcpu_get_xsave(struct vcpu *vcpu, struct kvm_xsave *xsave) {
    struct _xstate *area = vcpu->virt.guest_fpu.area;
    size_t size = fpu_area_size() < sizeof(*xsave) ? fpu_area_size() : sizeof(*xsave);
    make_explicit(area);
    memset(xsave, 0, sizeof(*xsave));
    memcpy(xsave, area, size);
    return 0;
}

int vcpu_set_xsave(struct vcpu *vcpu, const struct kvm_xsave *xsave) {
    const struct _xstate *in = (const void *)xsave;
    const struct _header header = {.xfeatures = in->xstate_hdr.xfeatures & fpu_host_xcr0()};
    struct _xstate *area = vcpu->virt.guest_fpu.area;
    if (memcmp(&in->xstate_hdr, &header, sizeof(header)) ||
        (in->fpstate.mxcsr & ~mxcsr_allowed(area)))
        return -EINVAL;
    uint32_t mask = area->fpstate.mxcsr_mask;
    size_t size = fpu_area_size() < sizeof(*xsave) ? fpu_area_size() : sizeof(*xsave);
    memcpy(area, xsave, size);
    area->fpstate.mxcsr_mask = mask;
    return 0;
}

// NULL: the processor has no AVX.
static void *upper_half(struct _xstate *area, unsigned which) {
    return fpu_area_size() >= sizeof(*area) ? &area->ymmh.ymmh_space[which * 4] : NULL;
}

void vcpu_read_vector(struct vcpu *vcpu, unsigned which, void *data, uint32_t size) {
    struct _xstate *area = vcpu->virt.guest_fpu.area;
    void *upper = upper_half(area, which);
    make_explicit(area);
    memcpy(data, &area->fpstate.xmm_space[which * 4], 16);
    if (size == 32 && upper && (area->xstate_hdr.xfeatures & XSTATE_AVX))
        memcpy((uint8_t *)data + 16, upper, 16);
    else if (size == 32)
        memset((uint8_t *)data + 16, 0, 16);
}

void vcpu_write_vector(struct vcpu *vcpu, unsigned which, const void *data, uint32_t size,
                       bool clear_upper) {
    struct _xstate *area = vcpu->virt.guest_fpu.area;
    void *upper = upper_half(area, which);
    make_explicit(area);
    memcpy(&area->fpstate.xmm_space[which * 4], data, 16);
    area->xstate_hdr.xfeatures |= XSTATE_SSE;
    if (!upper || (size != 32 && !clear_upper))
        return;
    if (!(area->xstate_hdr.xfeatures & XSTATE_AVX))
        memset(&area->ymmh, 0, sizeof(area->ymmh));
    area->xstate_hdr.xfeatures |= XSTATE_AVX;
    if (size == 32)
        memcpy(upper, (const uint8_t *)data + 16, 16);
    else
        memset(upper, 0, 16);
}
