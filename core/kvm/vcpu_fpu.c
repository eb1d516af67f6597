// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's x87, SSE and extended state: the area is XSAVE's standard format (SDM vol. 1 13.4), so
// most is a copy.
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "core/string.h"

// The legacy region and the header behind it.
struct xsave_area {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[16][16];
    uint8_t unused[96];
    uint64_t xstate_bv, xcomp_bv;
    uint8_t header_reserved[48];
};
_Static_assert(offsetof(struct xsave_area, xstate_bv) == 512, "SDM vol. 1 13.4.2");

#define XSTATE_X87    1ull
#define XSTATE_SSE    2ull
#define XSTATE_AVX    4ull
#define FCW_INITIAL   0x37f
#define MXCSR_INITIAL 0x1f80

static struct xsave_area *area_of(struct vcpu *vcpu) {
    return (struct xsave_area *)vcpu->virt.guest_fpu.area;
}

// XSAVE leaves parts alone whose state is initial; gives them their values so that they can be
// copied (SDM vol. 1 13.6).
static void make_explicit(struct xsave_area *area) {
    if (!(area->xstate_bv & XSTATE_X87)) {
        area->fcw = FCW_INITIAL;
        area->fsw = area->ftw = area->fop = 0;
        area->fip = area->fdp = 0;
        memset(area->st, 0, sizeof(area->st));
    }
    if (!(area->xstate_bv & XSTATE_SSE))
        memset(area->xmm, 0, sizeof(area->xmm));
    if (!(area->xstate_bv & (XSTATE_SSE | XSTATE_AVX)))
        area->mxcsr = MXCSR_INITIAL;
}

int vcpu_get_fpu(struct vcpu *vcpu, struct kvm_fpu *fpu) {
    struct xsave_area *area = area_of(vcpu);
    make_explicit(area);
    memcpy(fpu->fpr, area->st, sizeof(fpu->fpr));
    fpu->fcw = area->fcw;
    fpu->fsw = area->fsw;
    fpu->ftwx = area->ftw;
    fpu->last_opcode = area->fop;
    fpu->last_ip = area->fip;
    fpu->last_dp = area->fdp;
    memcpy(fpu->xmm, area->xmm, sizeof(area->xmm));
    fpu->mxcsr = area->mxcsr;
    return 0;
}

static uint32_t mxcsr_allowed(const struct xsave_area *area) {
    return area->mxcsr_mask ? area->mxcsr_mask : 0xffbf; // SDM vol. 1 11.6.6
}

int vcpu_set_fpu(struct vcpu *vcpu, const struct kvm_fpu *fpu) {
    struct xsave_area *area = area_of(vcpu);
    memcpy(area->st, fpu->fpr, sizeof(fpu->fpr));
    area->fcw = fpu->fcw;
    area->fsw = fpu->fsw;
    area->ftw = fpu->ftwx;
    area->fop = fpu->last_opcode;
    area->fip = fpu->last_ip;
    area->fdp = fpu->last_dp;
    memcpy(area->xmm, fpu->xmm, sizeof(area->xmm));
    area->mxcsr = fpu->mxcsr & mxcsr_allowed(area); // a reserved bit would fault in our XRSTOR
    area->xstate_bv |= XSTATE_X87 | XSTATE_SSE;
    return 0;
}

int vcpu_get_xsave(struct vcpu *vcpu, struct kvm_xsave *xsave) {
    struct xsave_area *area = area_of(vcpu);
    size_t size = fpu_area_size() < sizeof(*xsave) ? fpu_area_size() : sizeof(*xsave);
    make_explicit(area);
    memset(xsave, 0, sizeof(*xsave));
    memcpy(xsave, area, size);
    return 0;
}

int vcpu_set_xsave(struct vcpu *vcpu, const struct kvm_xsave *xsave) {
    const struct xsave_area *in = (const void *)xsave;
    struct xsave_area *area = area_of(vcpu);
    static const uint8_t zeroes[sizeof(in->header_reserved)];
    if ((in->xstate_bv & ~fpu_host_xcr0()) || in->xcomp_bv || (in->mxcsr & ~mxcsr_allowed(area)))
        return -EINVAL;
    if (memcmp(in->header_reserved, zeroes, sizeof(zeroes)))
        return -EINVAL;
    uint32_t mask = area->mxcsr_mask;
    size_t size = fpu_area_size() < sizeof(*xsave) ? fpu_area_size() : sizeof(*xsave);
    memcpy(area, xsave, size);
    area->mxcsr_mask = mask;
    return 0;
}

// The AVX component's place in the standard format is fixed (SDM vol. 1 13.5.2).
#define AVX_OFFSET 576

static uint8_t *upper_half(struct vcpu *vcpu, unsigned which) {
    return fpu_area_size() >= AVX_OFFSET + 256 ? vcpu->virt.guest_fpu.area + AVX_OFFSET + which * 16
                                               : NULL;
}

void vcpu_read_vector(struct vcpu *vcpu, unsigned which, void *data, uint32_t size) {
    struct xsave_area *area = area_of(vcpu);
    uint8_t *upper = upper_half(vcpu, which);
    make_explicit(area);
    memcpy(data, area->xmm[which], 16);
    if (size == 32 && upper && (area->xstate_bv & XSTATE_AVX))
        memcpy((uint8_t *)data + 16, upper, 16);
    else if (size == 32)
        memset((uint8_t *)data + 16, 0, 16);
}

void vcpu_write_vector(struct vcpu *vcpu, unsigned which, const void *data, uint32_t size,
                       bool clear_upper) {
    struct xsave_area *area = area_of(vcpu);
    uint8_t *upper = upper_half(vcpu, which);
    make_explicit(area);
    memcpy(area->xmm[which], data, 16);
    area->xstate_bv |= XSTATE_SSE;
    if (!upper || (size != 32 && !clear_upper))
        return;
    if (!(area->xstate_bv & XSTATE_AVX))
        memset(vcpu->virt.guest_fpu.area + AVX_OFFSET, 0, 256);
    area->xstate_bv |= XSTATE_AVX;
    if (size == 32)
        memcpy(upper, (const uint8_t *)data + 16, 16);
    else
        memset(upper, 0, 16);
}
