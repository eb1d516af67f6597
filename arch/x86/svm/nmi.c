// SPDX-License-Identifier: BSD-2-Clause
// NMI masking. With virtual NMI the processor keeps it (APM vol. 2 15.21.10); else the handler's
// IRET exits, and the mask goes when that IRET is over: after a single step if an NMI waits for it.
#include <asm/svm.h>
#include "arch/x86/svm/vcpu.h"

bool nmi_masked(const struct svm_vcpu *v) {
    return svm.virtual_nmi ? v->vmcb->interrupt_control & V_NMI_MASK : v->nmi_masked;
}

void nmi_set_masked(struct svm_vcpu *v, bool masked) {
    v->vcpu->recheck_events = true;
    if (svm.virtual_nmi) {
        uint32_t control = v->vmcb->interrupt_control & ~(uint32_t)V_NMI_MASK;
        v->vmcb->interrupt_control = control | (masked ? V_NMI_MASK : 0);
        return;
    }
    v->nmi_masked = masked;
    v->iret_pending = false;
    vmcb_intercept(v, SVM_EXIT_IRET, masked);
}

void nmi_open_window(struct virt_vcpu *vcpu, struct svm_vcpu *v, bool injecting) {
    if (svm.virtual_nmi) { // it waits in the processor
        if (!(v->vmcb->interrupt_control & V_NMI_PENDING)) {
            v->vmcb->interrupt_control |= V_NMI_PENDING;
            atomic_fetch_sub(&vcpu->events.nmi_pending, 1);
        }
        return;
    }
    if (v->nmi_masked && !v->iret_pending)
        return; // its IRET exits
    if (injecting) {
        // TF would be pushed with the flags. An interrupt of our own ends the guest right after the
        // delivery.
        cpu_kick(this_cpu());
        v->vcpu->recheck_events = true;
        return;
    }
    // The IRET itself or an interrupt shadow is in the way: one instruction.
    svm_step(v);
}

void nmi_exit(struct svm_vcpu *v) {
    if (v->vmcb->rip != v->iret_rip)
        nmi_set_masked(v, false);
}

void nmi_collect(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    if (!(v->vmcb->interrupt_control & V_NMI_PENDING))
        return;
    v->vmcb->interrupt_control &= ~(uint32_t)V_NMI_PENDING;
    atomic_fetch_add(&vcpu->events.nmi_pending, 1);
}
