// SPDX-License-Identifier: BSD-2-Clause
// KVM's general and special registers, and paging state for the software walk.
#include "arch/x86/guest/vcpu_exit.h"
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include "core/string.h"

// struct kvm_regs begins with the sixteen registers in its own order.
static const uint8_t kvm_order[16] = {0, 3, 1, 2, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15};
_Static_assert(offsetof(struct kvm_regs, rip) == 128, "sixteen registers before RIP");

uint64_t vcpu_gpr(struct virt_vcpu *vcpu, unsigned index) {
    return index == GPR_RSP ? virt->get(vcpu, BACKEND_RSP) : vcpu->gpr[index];
}

void vcpu_set_gpr(struct virt_vcpu *vcpu, unsigned index, uint64_t value) {
    if (index == GPR_RSP)
        virt->set(vcpu, BACKEND_RSP, value);
    else
        vcpu->gpr[index] = value;
}

void virt_get_regs(struct virt_vcpu *vcpu, struct kvm_regs *regs) {
    uint64_t *out = (uint64_t *)regs;
    for (unsigned i = 0; i < 16; i++)
        out[i] = vcpu_gpr(vcpu, kvm_order[i]);
    regs->rip = virt->get(vcpu, BACKEND_RIP);
    regs->rflags = virt_get_rflags(vcpu);
}

void virt_set_regs(struct virt_vcpu *vcpu, const struct kvm_regs *regs) {
    const uint64_t *in = (const uint64_t *)regs;
    for (unsigned i = 0; i < 16; i++)
        vcpu_set_gpr(vcpu, kvm_order[i], in[i]);
    virt->set(vcpu, BACKEND_RIP, regs->rip);
    virt_set_rflags(vcpu, regs->rflags);
    // As KVM_SET_REGS: what was raised before belongs to the old state.
    vcpu->events.exception_pending = false;
}

uint64_t virt_get_rflags(struct virt_vcpu *vcpu) {
    uint64_t rflags = virt->get(vcpu, BACKEND_RFLAGS);
    bool stepping = vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP);
    return stepping ? rflags & ~(uint64_t)X86_EFLAGS_TF : rflags;
}

#define RFLAGS_DEFINED 0x3f7fd7ull // bits that may be 1 (SDM vol. 3 27.3.1.4, APM vol. 2 3.1.6)

void virt_set_rflags(struct virt_vcpu *vcpu, uint64_t rflags) {
    if (vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP))
        rflags |= X86_EFLAGS_TF;
    virt->set(vcpu, BACKEND_RFLAGS, (rflags & RFLAGS_DEFINED) | X86_EFLAGS_FIXED);
    vcpu->recheck_events = true;
}

// -- segments --

static const uint16_t places[VCPU_SEGMENTS] = {
    [SEG_ES] = offsetof(struct kvm_sregs, es),
    [SEG_CS] = offsetof(struct kvm_sregs, cs),
    [SEG_SS] = offsetof(struct kvm_sregs, ss),
    [SEG_DS] = offsetof(struct kvm_sregs, ds),
    [SEG_FS] = offsetof(struct kvm_sregs, fs),
    [SEG_GS] = offsetof(struct kvm_sregs, gs),
    [VCPU_SEGMENT_TR] = offsetof(struct kvm_sregs, tr),
    [VCPU_SEGMENT_LDTR] = offsetof(struct kvm_sregs, ldt),
};

struct kvm_segment *vcpu_sregs_segment(struct kvm_sregs *sregs, unsigned segment_register) {
    return (struct kvm_segment *)((char *)sregs + places[segment_register]);
}

uint16_t vcpu_segment_attributes(const struct kvm_segment *segment) {
    bool present = segment->present && !segment->unusable;
    return (uint16_t)((segment->type & 15u) | (segment->s & 1u) << 4 | (segment->dpl & 3u) << 5 |
                      (present ? ATTRIBUTE_P : 0u) | (segment->avl & 1u) << 12 |
                      (segment->l & 1u) << 13 | (segment->db & 1u) << 14 | (segment->g & 1u) << 15);
}

struct kvm_segment vcpu_segment(uint16_t selector, uint64_t base, uint32_t limit,
                                uint16_t attributes) {
    bool present = attributes & ATTRIBUTE_P;
    return (struct kvm_segment){
        .selector = selector,
        .base = base,
        .limit = limit,
        .type = attributes & 15,
        .s = attributes >> 4 & 1,
        .dpl = attributes >> 5 & 3,
        .present = present,
        .avl = attributes >> 12 & 1,
        .l = attributes >> 13 & 1,
        .db = attributes >> 14 & 1,
        .g = attributes >> 15 & 1,
        .unusable = !present,
    };
}

uint64_t vcpu_linear_rip(struct virt_vcpu *vcpu) {
    struct kvm_segment cs;
    uint64_t rip = virt->get(vcpu, BACKEND_RIP);
    virt->get_segment(vcpu, SEG_CS, &cs);
    return cs.l && (virt->get(vcpu, BACKEND_EFER) & EFER_LMA) ? rip : (uint32_t)(cs.base + rip);
}

// -- special registers --

void virt_get_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs) {
    memset(sregs, 0, sizeof(*sregs));
    for (unsigned i = 0; i < VCPU_SEGMENTS; i++)
        virt->get_segment(vcpu, i, vcpu_sregs_segment(sregs, i));
    sregs->gdt.base = virt->get(vcpu, BACKEND_GDT_BASE);
    sregs->gdt.limit = (uint16_t)virt->get(vcpu, BACKEND_GDT_LIMIT);
    sregs->idt.base = virt->get(vcpu, BACKEND_IDT_BASE);
    sregs->idt.limit = (uint16_t)virt->get(vcpu, BACKEND_IDT_LIMIT);
    sregs->cr0 = virt->get(vcpu, BACKEND_CR0);
    sregs->cr2 = vcpu->cr2;
    sregs->cr3 = virt->get(vcpu, BACKEND_CR3);
    sregs->cr4 = virt->get(vcpu, BACKEND_CR4);
    sregs->cr8 = virt_get_cr8(vcpu);
    sregs->efer = virt->get(vcpu, BACKEND_EFER);
    sregs->apic_base = vcpu->irqchip ? vcpu->lapic.base : vcpu->msrs.apic_base;
}

void vcpu_load_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs) {
    for (unsigned i = 0; i < VCPU_SEGMENTS; i++)
        virt->set_segment(vcpu, i, vcpu_sregs_segment(sregs, i));
    virt->set(vcpu, BACKEND_GDT_BASE, sregs->gdt.base);
    virt->set(vcpu, BACKEND_GDT_LIMIT, sregs->gdt.limit);
    virt->set(vcpu, BACKEND_IDT_BASE, sregs->idt.base);
    virt->set(vcpu, BACKEND_IDT_LIMIT, sregs->idt.limit);
    vcpu->cr2 = sregs->cr2;
    virt->set(vcpu, BACKEND_CR3, sregs->cr3);
    virt->set(vcpu, BACKEND_EFER, sregs->efer);
    virt->set(vcpu, BACKEND_CR4, sregs->cr4);
    virt->set(vcpu, BACKEND_CR0, sregs->cr0);
    vcpu->recheck_events = true;
}

int virt_set_sregs(struct virt_vcpu *vcpu, const struct kvm_sregs *sregs) {
    struct kvm_sregs copy = *sregs;
    if (!vcpu_sregs_valid(vcpu, sregs))
        return -EINVAL;
    vcpu_load_sregs(vcpu, &copy);
    // No memory there yet is no error: the guest's next MOV to CR3 loads them.
    vcpu_load_pdptes(vcpu, sregs->cr0, sregs->cr4, sregs->efer);
    virt_cpuid_update(vcpu);
    return 0;
}

void virt_get_state(struct virt_vcpu *vcpu, struct virt_state *state) {
    virt->get_state(vcpu, state);
    if (vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP))
        state->paging.rflags &= ~(uint64_t)X86_EFLAGS_TF;
    state->paging.pkru = 0;
    state->paging.physical_bits = (uint8_t)vcpu_physical_bits(vcpu);
    state->paging.gbpages = vcpu->cpuid.gbpages;
    state->code_mode = state->code_32 ? CODE_32 : CODE_16;
    state->code_linear = (uint32_t)(state->code_base + state->rip);
    if (state->code_long && (state->paging.efer & EFER_LMA)) {
        state->code_mode = CODE_64;
        state->code_linear = state->rip;
    }
}
