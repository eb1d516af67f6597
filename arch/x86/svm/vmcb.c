// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's VMCB and what is intercepted.
#include <asm/errno.h>
#include <asm/svm.h>
#include "arch/x86/svm/vcpu.h"
#include "core/mm/page.h"

#define PAUSE_COUNT     4096 // PAUSEs until the vCPU yields,
#define PAUSE_THRESHOLD 128  // counted anew when they are further apart than these cycles

void vmcb_intercept(struct svm_vcpu *v, unsigned exit_code, bool on) {
    uint32_t *word = &v->vmcb->intercepts[exit_code / 32], bit = 1u << exit_code % 32;
    if (!!(*word & bit) == on)
        return;
    *word ^= bit;
    vmcb_dirty(v->vmcb, CLEAN_INTERCEPTS);
}

// A bit without its feature is reserved.
static bool can_intercept(unsigned exit_code) {
    switch (exit_code) {
    case SVM_EXIT_PAUSE: // each PAUSE would exit without the filter
        return svm.pause_filter;
    case SVM_EXIT_MONITOR:
    case SVM_EXIT_MWAIT:
        return svm.monitor;
    case SVM_EXIT_XSETBV:
        return svm.xsave;
    case SVM_EXIT_RDPRU:
        return svm.rdpru;
    default:
        return true;
    }
}

static void write_intercepts(struct svm_vcpu *v) {
    for (unsigned code = 0; code < SVM_EXIT_ROWS; code++)
        if (svm_exit_table[code].on && can_intercept(code))
            vmcb_intercept(v, code, true);
    if (svm.pause_filter) {
        v->vmcb->pause_count = PAUSE_COUNT;
        v->vmcb->pause_threshold = svm.pause_threshold ? PAUSE_THRESHOLD : 0;
    }
}

int vmcb_create(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->vcpu = vcpu;
    v->vmcb_physical = page_alloc_zeroed(0);
    if (v->vmcb_physical == PHYSICAL_NONE)
        return -ENOMEM;
    struct vmcb *vmcb = v->vmcb = page_to_virtual(v->vmcb_physical);
    write_intercepts(v);
    // Without a local APIC of ours user space hears of every lowered CR8.
    vmcb_intercept(v, SVM_EXIT_WRITE_CR8, !vcpu->irqchip);
    if (vcpu->vm->disabled_exits & KVM_X86_DISABLE_EXITS_HLT)
        vmcb_intercept(v, SVM_EXIT_HLT, false);
    if (vcpu->vm->disabled_exits & KVM_X86_DISABLE_EXITS_PAUSE)
        vmcb_intercept(v, SVM_EXIT_PAUSE, false);
    vmcb->io_map = svm_io_map;
    vmcb->msr_map = svm_msr_map;
    vmcb->nested_control = NESTED_PAGING;
    vmcb->nested_cr3 = vcpu->vm->stage2_root[0];
    vmcb->interrupt_control = V_INTR_MASKING | (svm.virtual_nmi ? V_NMI_ENABLE : 0);
    return 0;
}

void vmcb_destroy(struct virt_vcpu *vcpu) {
    page_put(svm_of(vcpu)->vmcb_physical);
}
