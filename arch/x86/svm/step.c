// SPDX-License-Identifier: BSD-2-Clause
// One instruction of the guest by TF, for an event that waits for its end.
#include <asm/processor-flags.h>
#include "arch/x86/svm/vcpu.h"

void svm_step(struct svm_vcpu *v) {
    v->step_guest_tf = v->vmcb->rflags & X86_EFLAGS_TF;
    v->step_rip = v->vmcb->rip;
    v->vmcb->rflags |= X86_EFLAGS_TF;
    v->step = true;
}

void svm_step_exit(struct svm_vcpu *v) {
    struct vmcb *vmcb = v->vmcb;
    v->step = false;
    v->stepped = true;
    v->vcpu->recheck_events = true;
    // After an IRET the flags are what it loaded.
    bool iret_loaded = v->iret_pending && vmcb->rip != v->step_rip;
    if (!v->step_guest_tf && !iret_loaded)
        vmcb->rflags &= ~(uint64_t)X86_EFLAGS_TF;
}
