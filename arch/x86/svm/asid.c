// SPDX-License-Identifier: BSD-2-Clause
// Address-space identifiers: each CPU hands out its own in turn. When they are used up all of its
// translations are flushed and a new generation begins (some processors have only 16).
#include "arch/x86/svm/vcpu.h"

void asid_renew(struct svm_vcpu *v, struct svm_cpu *cpu) {
    if (cpu->next_asid >= svm.asids) {
        cpu->asid_generation++;
        cpu->next_asid = 1;
        cpu->flush_all = true;
    }
    if (cpu->flush_all)
        v->vmcb->tlb_control = TLB_FLUSH_ALL;
    v->vmcb->asid = cpu->next_asid++;
    v->asid_generation = cpu->asid_generation;
    vmcb_dirty(v->vmcb, CLEAN_ASID);
}
