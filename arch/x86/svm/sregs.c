// SPDX-License-Identifier: BSD-2-Clause
// KVM's special registers, paging state for the software walk, and the reset state.
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_control.h"
#include "arch/x86/guest/vcpu_reset.h"
#include "arch/x86/svm/vcpu.h"
#include "core/string.h"

void svm_get_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    memset(sregs, 0, sizeof(*sregs));
    for (unsigned i = 0; i < VCPU_SEGMENTS; i++)
        svm_get_segment(vcpu, i, vcpu_sregs_segment(sregs, i));
    sregs->gdt.base = vmcb->gdtr.base;
    sregs->gdt.limit = (uint16_t)vmcb->gdtr.limit;
    sregs->idt.base = vmcb->idtr.base;
    sregs->idt.limit = (uint16_t)vmcb->idtr.limit;
    sregs->cr0 = svm_get_cr0(vcpu);
    sregs->cr2 = vcpu->cr2;
    sregs->cr3 = vmcb->cr3;
    sregs->cr4 = svm_of(vcpu)->cr4;
    sregs->cr8 = vcpu->irqchip ? lapic_get_cr8(&vcpu->lapic) : vcpu->cr8;
    sregs->efer = svm_efer(vcpu);
    sregs->apic_base = vcpu->irqchip ? vcpu->lapic.base : vcpu->msrs.apic_base;
}

// Without checks.
static void load_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs) {
    struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    for (unsigned i = 0; i < VCPU_SEGMENTS; i++)
        svm_set_segment(vcpu, i, vcpu_sregs_segment(sregs, i));
    vmcb->gdtr.base = sregs->gdt.base;
    vmcb->gdtr.limit = sregs->gdt.limit;
    vmcb->idtr.base = sregs->idt.base;
    vmcb->idtr.limit = sregs->idt.limit;
    vmcb_dirty(vmcb, CLEAN_TABLES);
    vmcb->cr3 = sregs->cr3;
    svm_write_efer(vcpu, sregs->efer);
    svm_write_cr4(vcpu, sregs->cr4);
    svm_write_cr0(vcpu, sregs->cr0);
    svm_of(vcpu)->recheck_events = true;
}

int svm_set_sregs(struct virt_vcpu *vcpu, const struct kvm_sregs *sregs) {
    const uint64_t efer_defined = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    struct kvm_sregs copy = *sregs;
    if (!vcpu_sregs_valid(vcpu, sregs) || (sregs->efer & ~efer_defined))
        return -EINVAL;
    vcpu->cr2 = sregs->cr2;
    if (vcpu->irqchip)
        lapic_set_cr8(&vcpu->lapic, sregs->cr8 & 15);
    else
        vcpu->cr8 = sregs->cr8 & 15;
    load_sregs(vcpu, &copy);
    virt_cpuid_update(vcpu);
    return 0;
}

void svm_get_paging(struct virt_vcpu *vcpu, struct guest_paging *paging) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    *paging = (struct guest_paging){
        .cr0 = svm_get_cr0(vcpu),
        .cr3 = vmcb->cr3,
        .cr4 = svm_of(vcpu)->cr4,
        .efer = svm_efer(vcpu),
        .rflags = vmcb->rflags,
        .cpl = vmcb->cpl,
        .physical_bits = (uint8_t)vcpu_physical_bits(vcpu),
        .gbpages = vcpu->cpuid.count && guest_cpuid_has(&vcpu->cpuid, CPUID_GBPAGES),
    };
}

static void reset_power_on(struct svm_vcpu *v) {
    struct vmcb *vmcb = v->vmcb;
    v->tsc_aux = v->spec_ctrl = 0;
    vmcb->pat = PAT_RESET;
    vmcb_dirty(vmcb, CLEAN_NESTED);
    vmcb->star = vmcb->lstar = vmcb->cstar = vmcb->syscall_mask = vmcb->kernel_gs_base = 0;
    vmcb->sysenter_cs = vmcb->sysenter_esp = vmcb->sysenter_eip = 0;
}

void svm_reset(struct virt_vcpu *vcpu, bool init) {
    struct svm_vcpu *v = svm_of(vcpu);
    struct kvm_sregs sregs;
    if (!init)
        reset_power_on(v);
    vcpu_reset_registers(vcpu, init, svm_get_cr0(vcpu), &sregs);
    load_sregs(vcpu, &sregs);
    v->vmcb->rsp = 0;
    v->vmcb->rip = VCPU_RESET_RIP;
    svm_set_rflags(vcpu, X86_EFLAGS_FIXED);
    v->debugctl = 0;
    v->vmcb->interrupt_shadow = 0;
    v->vmcb->event = v->vmcb->exit_event = 0;
    v->next_rip = 0;
    v->after_exit = 0;
    v->step_due = false;
    v->soft_advance = 0;
    nmi_set_masked(v, false);
    svm_debug_changed(vcpu);
    if (vcpu->cpuid.count)
        virt_cpuid_update(vcpu);
}
