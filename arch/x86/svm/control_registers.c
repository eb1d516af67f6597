// SPDX-License-Identifier: BSD-2-Clause
// The guest's CR0, CR4 and EFER in the VMCB. CR3, CR2, TS and MP are the guest's own; writes of the
// rest exit. Reads exit only while the guest must see something else than what is in force.
#include <asm/processor-flags.h>
#include <asm/svm.h>
#include "arch/x86/svm/vcpu.h"

// Caching is the host's business (as KVM: neither CD nor NW reaches the processor).
#define CR0_HIDDEN (X86_CR0_CD | X86_CR0_NW)
// The guest writes these two without an exit (APM vol. 2 15.9, selective CR0 write intercept).
#define CR0_OWNED (X86_CR0_TS | X86_CR0_MP)

uint64_t svm_get_cr0(const struct svm_vcpu *v) {
    return (v->cr0 & ~(uint64_t)CR0_OWNED) | (v->vmcb->cr0 & CR0_OWNED);
}

void svm_write_efer(struct virt_vcpu *vcpu, uint64_t efer) {
    svm_of(vcpu)->vmcb->efer = efer | EFER_SVME; // VMRUN wants it set
    vcpu->flush_tlb = true;                      // NXE changes what cached translations mean
}

void svm_write_cr0(struct virt_vcpu *vcpu, uint64_t cr0) {
    struct svm_vcpu *v = svm_of(vcpu);
    cr0 |= X86_CR0_ET; // hardwired
    v->cr0 = cr0;
    v->vmcb->cr0 = cr0 & ~(uint64_t)CR0_HIDDEN;
    bool hidden = cr0 & CR0_HIDDEN;
    vmcb_intercept(v, SVM_EXIT_READ_CR0, hidden);
    vmcb_intercept(v, SVM_EXIT_WRITE_CR0, hidden);
    bool long_mode = (v->vmcb->efer & EFER_LME) && (cr0 & X86_CR0_PG);
    if (long_mode != !!(v->vmcb->efer & EFER_LMA))
        v->vmcb->efer ^= EFER_LMA;
    vcpu->flush_tlb = true;
}

void svm_write_cr4(struct virt_vcpu *vcpu, uint64_t cr4) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->cr4 = cr4;
    v->vmcb->cr4 = cr4 | (read_cr4() & X86_CR4_MCE); // a machine check must exit, not shut down
    vmcb_intercept(v, SVM_EXIT_READ_CR4, v->vmcb->cr4 != cr4);
    vcpu->flush_tlb = true;
}

// -- exits --

bool svm_find_operand(struct virt_vcpu *vcpu, bool assisted, struct svm_instruction *what) {
    struct svm_vcpu *v = svm_of(vcpu);
    if (svm.decode_assists && assisted) {
        what->operation = SVM_MOVE;
        what->gpr = v->vmcb->exit_info1 & 15;
        return true;
    }
    if (!svm_instruction_fetch(vcpu, what))
        return false;
    if (!v->next_rip)
        v->next_rip = v->vmcb->rip + what->length;
    return true;
}

static void store_machine_status(struct virt_vcpu *vcpu, const struct svm_instruction *what) {
    uint64_t cr0 = svm_get_cr0(svm_of(vcpu));
    if (what->size == 2)
        cr0 = (cr0 & 0xffff) | (vcpu_gpr(vcpu, what->gpr) & ~0xffffull);
    else if (what->size == 4)
        cr0 &= UINT32_MAX;
    vcpu_set_gpr(vcpu, what->gpr, cr0);
}

HANDLER(svm_exit_control_register) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    uint64_t code = vmcb->exit_code;
    unsigned number = code == SVM_EXIT_CR0_SEL_WRITE ? 0 : code & 15;
    bool write = code == SVM_EXIT_CR0_SEL_WRITE || code >= SVM_EXIT_WRITE_CR0;
    struct svm_instruction what = {0};
    if (!svm_find_operand(vcpu, vmcb->exit_info1 & MOV_CR_VALID, &what))
        return EXIT_RESUME; // gone from memory meanwhile: the processor tries again
    switch (what.operation) {
    case SVM_MOVE:
        if (write)
            return vcpu_write_control(vcpu, exit, number, vcpu_gpr(vcpu, what.gpr));
        vcpu_set_gpr(vcpu, what.gpr, virt->get(vcpu, number ? BACKEND_CR4 : BACKEND_CR0));
        return EXIT_SKIP;
    case SVM_CLTS:
        return vcpu_clear_task_switched(vcpu, exit);
    case SVM_LMSW:
        return vcpu_load_status(vcpu, exit, vcpu_gpr(vcpu, what.gpr));
    case SVM_SMSW:
        store_machine_status(vcpu, &what);
        return EXIT_SKIP;
    default: // the two with a memory operand
        return exit_internal_error(exit, KVM_INTERNAL_ERROR_EMULATION, code, vmcb->rip);
    }
}
