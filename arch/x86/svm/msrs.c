// SPDX-License-Identifier: BSD-2-Clause
// MSRs whose guest values live in the VMCB or are switched at a run.
#include "arch/x86/guest/vcpu_control.h"
#include "arch/x86/svm/vcpu.h"
#include "core/sched/thread.h"

enum { PLACE_OTHER = 0 }; // offset 0 of the VMCB holds no MSR

static const uint16_t places[BACKEND_COUNT] = {
    [BACKEND_FS_BASE] = offsetof(struct vmcb, segment[SEG_FS].base),
    [BACKEND_GS_BASE] = offsetof(struct vmcb, segment[SEG_GS].base),
    [BACKEND_KERNEL_GS_BASE] = offsetof(struct vmcb, kernel_gs_base),
    [BACKEND_STAR] = offsetof(struct vmcb, star),
    [BACKEND_LSTAR] = offsetof(struct vmcb, lstar),
    [BACKEND_CSTAR] = offsetof(struct vmcb, cstar),
    [BACKEND_SYSCALL_MASK] = offsetof(struct vmcb, syscall_mask),
    [BACKEND_SYSENTER_CS] = offsetof(struct vmcb, sysenter_cs),
    [BACKEND_SYSENTER_ESP] = offsetof(struct vmcb, sysenter_esp),
    [BACKEND_SYSENTER_EIP] = offsetof(struct vmcb, sysenter_eip),
    [BACKEND_PAT] = offsetof(struct vmcb, pat),
};

static uint64_t *place_of(struct svm_vcpu *v, enum backend_msr which) {
    return (uint64_t *)((char *)v->vmcb + places[which]);
}

uint64_t svm_msr_get(struct virt_vcpu *vcpu, enum backend_msr which) {
    struct svm_vcpu *v = svm_of(vcpu);
    if (places[which] != PLACE_OTHER)
        return *place_of(v, which);
    switch (which) {
    case BACKEND_EFER:
        return svm_efer(vcpu);
    case BACKEND_DEBUGCTL:
        return v->debugctl;
    case BACKEND_TSC_AUX:
        return v->tsc_aux;
    case BACKEND_SPEC_CTRL:
        return v->spec_ctrl;
    case BACKEND_XSS:
        return vcpu->guest_fpu.xss;
    default:
        return 0;
    }
}

static int efer_set(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t efer = svm_efer(vcpu);
    // LME cannot change while paging is on (APM vol. 2 3.1.7).
    if (((value ^ efer) & EFER_LME) && (svm_get_cr0(vcpu) & CR0_PG))
        return -1;
    svm_write_efer(vcpu, (value & ~EFER_LMA) | (efer & EFER_LMA));
    return 0;
}

static int xss_set(struct virt_vcpu *vcpu, uint64_t value) {
    vcpu->guest_fpu.xss = value;
    if (svm.xsaves && this_cpu()->current->fpu == &vcpu->guest_fpu)
        write_msr(MSR_XSS, value);
    virt_cpuid_update(vcpu);
    return 0;
}

static int tsc_aux_set(struct virt_vcpu *vcpu, uint64_t value) {
    if (!svm.rdtscp)
        return -1;
    svm_of(vcpu)->tsc_aux = value;
    if (atomic_load(&vcpu->in_guest)) // switched at the run's ends
        write_msr(MSR_TSC_AUX, value);
    return 0;
}

int svm_msr_set(struct virt_vcpu *vcpu, enum backend_msr which, uint64_t value) {
    struct svm_vcpu *v = svm_of(vcpu);
    if (places[which] != PLACE_OTHER) {
        *place_of(v, which) = value;
        if (which == BACKEND_PAT)
            vmcb_dirty(v->vmcb, CLEAN_NESTED);
        return 0;
    }
    switch (which) {
    case BACKEND_EFER:
        return efer_set(vcpu, value);
    case BACKEND_DEBUGCTL: // branch records are not virtualized
        v->debugctl = 0;
        return 0;
    case BACKEND_TSC_AUX:
        return tsc_aux_set(vcpu, value);
    case BACKEND_SPEC_CTRL:
        if (!svm.spec_ctrl && value)
            return -1;
        v->spec_ctrl = value;
        return 0;
    case BACKEND_XSS:
        return xss_set(vcpu, value);
    default:
        return -1;
    }
}
