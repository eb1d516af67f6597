// SPDX-License-Identifier: BSD-2-Clause
// KVM's special registers, paging state for the software walk, and the reset state.
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_control.h"
#include "arch/x86/guest/vcpu_event.h"
#include "arch/x86/vmx/vcpu.h"
#include "core/string.h"

enum { SEG_TR = 6, SEG_LDTR = 7, SEG_COUNT = 8 };

// struct kvm_sregs' segments by the numbers of virt_ops.get_segment.
static const uint16_t sregs_segment[SEG_COUNT] = {
    [SEG_ES] = offsetof(struct kvm_sregs, es), [SEG_CS] = offsetof(struct kvm_sregs, cs),
    [SEG_SS] = offsetof(struct kvm_sregs, ss), [SEG_DS] = offsetof(struct kvm_sregs, ds),
    [SEG_FS] = offsetof(struct kvm_sregs, fs), [SEG_GS] = offsetof(struct kvm_sregs, gs),
    [SEG_TR] = offsetof(struct kvm_sregs, tr), [SEG_LDTR] = offsetof(struct kvm_sregs, ldt),
};

void vmx_get_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs) {
    vmcs_use(vmx_of(vcpu));
    memset(sregs, 0, sizeof(*sregs));
    for (unsigned i = 0; i < SEG_COUNT; i++)
        vmx_get_segment(vcpu, i, (struct kvm_segment *)((char *)sregs + sregs_segment[i]));
    sregs->gdt.base = vmread(VMCS_GUEST_GDTR_BASE);
    sregs->gdt.limit = (uint16_t)vmread(VMCS_GUEST_GDTR_LIMIT);
    sregs->idt.base = vmread(VMCS_GUEST_IDTR_BASE);
    sregs->idt.limit = (uint16_t)vmread(VMCS_GUEST_IDTR_LIMIT);
    sregs->cr0 = vmx_get_cr0(vcpu);
    sregs->cr2 = vcpu->cr2;
    sregs->cr3 = vmread(VMCS_GUEST_CR3);
    sregs->cr4 = vmx_get_cr4(vcpu);
    sregs->cr8 = vcpu->irqchip ? lapic_get_cr8(&vcpu->lapic) : vcpu->cr8;
    sregs->efer = vmread(VMCS_GUEST_EFER);
    sregs->apic_base = vcpu->irqchip ? vcpu->lapic.base : vcpu->msrs.apic_base;
}

int vmx_set_sregs(struct virt_vcpu *vcpu, const struct kvm_sregs *sregs) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    const uint64_t efer_defined = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    if (!vcpu_sregs_valid(vcpu, sregs) || (sregs->efer & ~efer_defined))
        return -EINVAL;
    vmcs_use(v);
    for (unsigned i = 0; i < SEG_COUNT; i++)
        vmx_set_segment(vcpu, i,
                        (const struct kvm_segment *)((const char *)sregs + sregs_segment[i]));
    vmwrite(VMCS_GUEST_GDTR_BASE, sregs->gdt.base);
    vmwrite(VMCS_GUEST_GDTR_LIMIT, sregs->gdt.limit);
    vmwrite(VMCS_GUEST_IDTR_BASE, sregs->idt.base);
    vmwrite(VMCS_GUEST_IDTR_LIMIT, sregs->idt.limit);
    vcpu->cr2 = sregs->cr2;
    vmwrite(VMCS_GUEST_CR3, sregs->cr3);
    if (vcpu->irqchip)
        lapic_set_cr8(&vcpu->lapic, sregs->cr8 & 15);
    else
        vcpu->cr8 = sregs->cr8 & 15;
    vmx_write_efer(vcpu, sregs->efer);
    vmx_write_cr4(vcpu, sregs->cr4);
    vmx_write_cr0(vcpu, sregs->cr0);
    // No memory there yet is no error: the guest's next MOV to CR3 loads them.
    vmx_load_pdptes(vcpu, sregs->cr0, sregs->cr3, sregs->cr4, sregs->efer);
    virt_cpuid_update(vcpu);
    v->recheck_events = true;
    return 0;
}

void vmx_get_paging(struct virt_vcpu *vcpu, struct guest_paging *paging) {
    vmcs_use(vmx_of(vcpu));
    *paging = (struct guest_paging){
        .cr0 = vmx_get_cr0(vcpu),
        .cr3 = vmread(VMCS_GUEST_CR3),
        .cr4 = vmx_get_cr4(vcpu),
        .efer = vmread(VMCS_GUEST_EFER),
        .rflags = vmread(VMCS_GUEST_RFLAGS),
        .cpl = (uint8_t)vmx_get_cpl(vcpu),
        .physical_bits = (uint8_t)vcpu_physical_bits(vcpu),
        .gbpages = vcpu->cpuid.count && guest_cpuid_has(&vcpu->cpuid, CPUID_GBPAGES),
    };
}

// -- reset (SDM vol. 3 table 10-1; what INIT keeps is kept) --

#define PAT_RESET 0x0007040600070406ull
#define DR6_RESET 0xffff0ff0ull
#define DR7_RESET 0x400ull

static void reset_segments(struct virt_vcpu *vcpu) {
    const struct kvm_segment data = {.limit = 0xffff, .type = 3, .s = 1, .present = 1};
    struct kvm_segment code = data;
    for (unsigned i = 0; i < SEG_TR; i++)
        vmx_set_segment(vcpu, i, &data);
    code.type = 11;
    code.selector = 0xf000;
    code.base = 0xffff0000;
    vmx_set_segment(vcpu, SEG_CS, &code);
    vmx_set_segment(vcpu, SEG_TR, &(struct kvm_segment){.limit = 0xffff, .type = 11, .present = 1});
    vmx_set_segment(vcpu, SEG_LDTR,
                    &(struct kvm_segment){.limit = 0xffff, .type = 2, .present = 1});
    vmwrite(VMCS_GUEST_GDTR_BASE, 0);
    vmwrite(VMCS_GUEST_GDTR_LIMIT, 0xffff);
    vmwrite(VMCS_GUEST_IDTR_BASE, 0);
    vmwrite(VMCS_GUEST_IDTR_LIMIT, 0xffff);
}

static void reset_power_on(struct virt_vcpu *vcpu, struct vmx_vcpu *v) {
    memset(v->lazy, 0, sizeof(v->lazy));
    v->cstar = v->spec_ctrl = 0;
    v->load_spec_ctrl = false;
    vmwrite(VMCS_GUEST_PAT, PAT_RESET);
    vcpu->xcr0 = vcpu->guest_fpu.xcr0 = 1;
    vcpu->guest_fpu.xss = 0;
    vmwrite(VMCS_GUEST_SYSENTER_CS, 0);
    vmwrite(VMCS_GUEST_SYSENTER_ESP, 0);
    vmwrite(VMCS_GUEST_SYSENTER_EIP, 0);
}

static void reset_registers(struct virt_vcpu *vcpu) {
    const struct kvm_cpuid_entry2 *version =
        vcpu->cpuid.count ? guest_cpuid_find(&vcpu->cpuid, 1, 0) : NULL;
    memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
    vcpu->gpr[2] = version ? version->eax : 0x600; // RDX: the processor's signature
    vcpu->cr2 = 0;
    memset(vcpu->debug, 0, sizeof(vcpu->debug));
    vcpu->dr6 = DR6_RESET;
    vcpu->dr7 = DR7_RESET;
    vmwrite(VMCS_GUEST_RSP, 0);
    vmwrite(VMCS_GUEST_RIP, 0xfff0);
    vmx_set_rflags(vcpu, X86_EFLAGS_FIXED);
}

void vmx_reset(struct virt_vcpu *vcpu, bool init) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    const uint64_t cache_bits = X86_CR0_CD | X86_CR0_NW;
    vmcs_use(v);
    if (this_cpu()->loaded_vcpu == vcpu)
        vmx_user_return(); // the lazy values come back into memory first
    uint64_t cr0 = X86_CR0_ET | (init ? vmx_get_cr0(vcpu) & cache_bits : cache_bits);
    if (!init)
        reset_power_on(vcpu, v);
    reset_registers(vcpu);
    reset_segments(vcpu);
    vmwrite(VMCS_GUEST_CR3, 0);
    vmx_write_efer(vcpu, 0);
    vmx_write_cr4(vcpu, 0);
    vmx_write_cr0(vcpu, cr0);
    vmwrite(VMCS_GUEST_DEBUGCTL, 0);
    vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
    vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
    vmwrite(VMCS_GUEST_ACTIVITY, 0);
    vmwrite(VMCS_ENTRY_INTERRUPTION, 0);
    for (unsigned i = 0; i < 4; i++)
        vmwrite(VMCS_GUEST_PDPTE0 + 2 * i, 0);
    struct virt_events *events = &vcpu->events;
    vcpu_event_delivered(events);
    events->exception_pending = events->triple_fault = false;
    events->user_interrupt = -1;
    atomic_store(&events->nmi_pending, 0);
    if (!vcpu->irqchip)
        vcpu->cr8 = 0;
    vmx_debug_changed(vcpu);
    if (vcpu->cpuid.count)
        virt_cpuid_update(vcpu);
}
