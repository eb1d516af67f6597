// SPDX-License-Identifier: BSD-2-Clause
// The guest's CR0, CR4, CR8 and EFER. CR3, CR2, TS and MP are the guest's own; writes of the rest
// exit. Reads exit only while the guest must see something else than what is in force.
#include <asm/processor-flags.h>
#include <asm/svm.h>
#include "arch/x86/guest/vcpu_control.h"
#include "arch/x86/svm/vcpu.h"

// Caching is the host's business (as KVM: neither CD nor NW reaches the processor).
#define CR0_HIDDEN (X86_CR0_CD | X86_CR0_NW)
// The guest writes these two without an exit (APM vol. 2 15.9, selective CR0 write intercept).
#define CR0_OWNED (X86_CR0_TS | X86_CR0_MP)

uint64_t svm_get_cr0(struct virt_vcpu *vcpu) {
    const struct svm_vcpu *v = svm_of(vcpu);
    return (v->cr0 & ~(uint64_t)CR0_OWNED) | (v->vmcb->cr0 & CR0_OWNED);
}

void svm_write_efer(struct virt_vcpu *vcpu, uint64_t efer) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->vmcb->efer = efer | EFER_SVME; // VMRUN wants it set
    vmcb_dirty(v->vmcb, CLEAN_CONTROL);
    v->flush_tlb = true; // NXE changes what cached translations mean
}

void svm_write_cr0(struct virt_vcpu *vcpu, uint64_t cr0) {
    struct svm_vcpu *v = svm_of(vcpu);
    cr0 |= X86_CR0_ET; // hardwired
    v->cr0 = cr0;
    v->vmcb->cr0 = cr0 & ~(uint64_t)CR0_HIDDEN;
    vmcb_dirty(v->vmcb, CLEAN_CONTROL);
    bool hidden = cr0 & CR0_HIDDEN;
    vmcb_intercept(v, SVM_EXIT_READ_CR0, hidden);
    vmcb_intercept(v, SVM_EXIT_WRITE_CR0, hidden);
    uint64_t efer = svm_efer(vcpu);
    bool long_mode = (efer & EFER_LME) && (cr0 & X86_CR0_PG);
    if (long_mode != !!(efer & EFER_LMA))
        svm_write_efer(vcpu, efer ^ EFER_LMA);
    v->flush_tlb = true;
}

void svm_write_cr4(struct virt_vcpu *vcpu, uint64_t cr4) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->cr4 = cr4;
    v->vmcb->cr4 = cr4 | (read_cr4() & X86_CR4_MCE); // a machine check must exit, not shut down
    vmcb_dirty(v->vmcb, CLEAN_CONTROL);
    vmcb_intercept(v, SVM_EXIT_READ_CR4, v->vmcb->cr4 != cr4);
    v->flush_tlb = true;
}

// -- CR8 --

static uint8_t current_tpr(const struct virt_vcpu *vcpu) {
    return (uint8_t)(vcpu->irqchip ? lapic_get_cr8(&vcpu->lapic) : vcpu->cr8);
}

void svm_load_tpr(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    uint32_t control = v->vmcb->interrupt_control;
    v->vmcb->interrupt_control = (control & ~(uint32_t)V_TPR) | current_tpr(vcpu);
}

void svm_store_tpr(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    uint8_t tpr = v->vmcb->interrupt_control & 15;
    if (__builtin_expect(tpr == current_tpr(vcpu), 1))
        return;
    v->recheck_events = true;
    if (vcpu->irqchip)
        lapic_set_cr8(&vcpu->lapic, tpr);
    else
        vcpu->cr8 = tpr;
}

// -- exits --

static bool move_to_cr0(struct virt_vcpu *vcpu, uint64_t value) {
    struct svm_vcpu *v = svm_of(vcpu);
    if (!vcpu_cr0_move_valid(svm_get_cr0(vcpu), value, v->cr4, svm_efer(vcpu),
                             svm_code_64(v->vmcb)))
        return false;
    svm_write_cr0(vcpu, value & UINT32_MAX);
    return true;
}

static bool move_to_cr4(struct virt_vcpu *vcpu, uint64_t value) {
    struct svm_vcpu *v = svm_of(vcpu);
    uint64_t old = v->cr4;
    if ((value & ~vcpu_cr4_allowed(vcpu)) ||
        !vcpu_cr4_move_valid(old, value, v->vmcb->cr3, svm_efer(vcpu)))
        return false;
    svm_write_cr4(vcpu, value);
    if ((old ^ value) & (X86_CR4_OSXSAVE | X86_CR4_PKE))
        virt_cpuid_update(vcpu);
    return true;
}

// True: leave, user space wants to know of a lowered CR8.
static bool move_to_cr8(struct virt_vcpu *vcpu, uint64_t value) {
    uint64_t old = current_tpr(vcpu);
    svm_of(vcpu)->recheck_events = true;
    if (vcpu->irqchip) {
        lapic_set_cr8(&vcpu->lapic, value);
        return false;
    }
    vcpu->cr8 = value;
    return value < old;
}

static enum exit_action write_register(struct virt_vcpu *vcpu, unsigned number, uint64_t value,
                                       struct virt_exit *exit) {
    bool ok = number == 0   ? move_to_cr0(vcpu, value)
              : number == 4 ? move_to_cr4(vcpu, value)
                            : number == 8 && value <= 15;
    if (!ok) {
        svm_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    svm_skip(vcpu);
    if (number == 8 && move_to_cr8(vcpu, value)) {
        exit->kind = VIRT_EXIT_SET_TPR;
        return EXIT_LEAVE;
    }
    return EXIT_RESUME;
}

static void store_machine_status(struct virt_vcpu *vcpu, const struct svm_instruction *what) {
    uint64_t cr0 = svm_get_cr0(vcpu);
    if (what->size == 2)
        cr0 = (cr0 & 0xffff) | (svm_read_gpr(vcpu, what->gpr) & ~0xffffull);
    else if (what->size == 4)
        cr0 &= UINT32_MAX;
    svm_write_gpr(vcpu, what->gpr, cr0);
}

// Which instruction it was: from the decode assists, else from memory.
static bool find_operand(struct virt_vcpu *vcpu, struct svm_vcpu *v, bool write,
                         struct svm_instruction *what) {
    if (svm.decode_assists && (v->vmcb->exit_info1 & MOV_CR_VALID)) {
        what->operation = write ? SVM_MOVE_TO : SVM_MOVE_FROM;
        what->gpr = v->vmcb->exit_info1 & 15;
        return true;
    }
    if (!svm_instruction_fetch(vcpu, what))
        return false;
    if (!v->next_rip)
        v->next_rip = v->vmcb->rip + what->length;
    return true;
}

enum exit_action svm_exit_control_register(struct virt_vcpu *vcpu, struct svm_vcpu *v,
                                           struct virt_exit *exit) {
    uint64_t code = v->vmcb->exit_code;
    unsigned number = code == SVM_EXIT_CR0_SEL_WRITE ? 0 : code & 15;
    bool write = code == SVM_EXIT_CR0_SEL_WRITE || code >= SVM_EXIT_WRITE_CR0;
    struct svm_instruction what = {0};
    if (!find_operand(vcpu, v, write, &what))
        return EXIT_RESUME; // gone from memory meanwhile: the processor tries again
    uint64_t cr0 = svm_get_cr0(vcpu);
    switch (what.operation) {
    case SVM_MOVE_TO:
        return write_register(vcpu, number, svm_read_gpr(vcpu, what.gpr), exit);
    case SVM_MOVE_FROM:
        svm_write_gpr(vcpu, what.gpr, number == 0 ? cr0 : v->cr4);
        break;
    case SVM_CLTS:
        return write_register(vcpu, 0, cr0 & ~(uint64_t)X86_CR0_TS, exit);
    case SVM_LMSW: // sets PE but cannot clear it (APM vol. 3 LMSW)
        return write_register(vcpu, 0, (cr0 & ~14ull) | (svm_read_gpr(vcpu, what.gpr) & 15), exit);
    case SVM_SMSW:
        store_machine_status(vcpu, &what);
        break;
    default: // the two with a memory operand
        return svm_internal_error(exit, KVM_INTERNAL_ERROR_EMULATION, code, v->vmcb->rip);
    }
    svm_skip(vcpu);
    return EXIT_RESUME;
}
