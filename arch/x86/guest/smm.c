// SPDX-License-Identifier: BSD-2-Clause
// The state that an SMI saves and RSM loads.
#include "arch/x86/guest/smm.h"
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_exit.h"

_Static_assert(offsetof(struct smm_state, efer) == 0xd0, "APM vol. 2 table 10-1");
_Static_assert(offsetof(struct smm_state, version) == 0xfc, "APM vol. 2 table 10-1");
_Static_assert(offsetof(struct smm_state, cr4) == 0x148, "APM vol. 2 table 10-1");
_Static_assert(sizeof(struct smm_state) == 0x200, "ends with the 64 KiB from SMBASE");

static void save_segment(struct smm_segment *to, const struct kvm_segment *from) {
    *to = (struct smm_segment){.selector = from->selector,
                               .attributes = vcpu_segment_attributes(from),
                               .limit = from->limit,
                               .base = from->base};
}

static void load_segment(struct kvm_segment *to, const struct smm_segment *from) {
    *to = vcpu_segment(from->selector, from->base, from->limit, from->attributes);
}

void smm_save(struct smm_state *state, const struct kvm_sregs *sregs, const uint64_t gpr[16]) {
    struct kvm_sregs *from = (struct kvm_sregs *)(uintptr_t)sregs; // only looked at
    for (unsigned i = 0; i < VCPU_SEGMENT_TR; i++)
        save_segment(&state->segments[i], vcpu_sregs_segment(from, i));
    save_segment(&state->tr, &sregs->tr);
    save_segment(&state->ldtr, &sregs->ldt);
    state->gdtr = (struct smm_segment){.limit = sregs->gdt.limit, .base = sregs->gdt.base};
    state->idtr = (struct smm_segment){.limit = sregs->idt.limit, .base = sregs->idt.base};
    state->efer = sregs->efer;
    state->cr4 = sregs->cr4;
    state->cr3 = sregs->cr3;
    state->cr0 = sregs->cr0;
    state->version = SMM_STATE_VERSION;
    for (unsigned i = 0; i < 16; i++)
        state->gpr[15 - i] = gpr[i];
}

void smm_load(const struct smm_state *state, struct kvm_sregs *sregs, uint64_t gpr[16]) {
    for (unsigned i = 0; i < VCPU_SEGMENT_TR; i++)
        load_segment(vcpu_sregs_segment(sregs, i), &state->segments[i]);
    load_segment(&sregs->tr, &state->tr);
    load_segment(&sregs->ldt, &state->ldtr);
    sregs->gdt.base = state->gdtr.base;
    sregs->gdt.limit = (uint16_t)state->gdtr.limit;
    sregs->idt.base = state->idtr.base;
    sregs->idt.limit = (uint16_t)state->idtr.limit;
    sregs->efer = state->efer;
    sregs->cr4 = state->cr4;
    sregs->cr3 = state->cr3;
    sregs->cr0 = state->cr0;
    for (unsigned i = 0; i < 16; i++)
        gpr[i] = state->gpr[15 - i];
}

void smm_enter(struct kvm_sregs *sregs, uint32_t base) {
    const struct kvm_segment data = {.limit = UINT32_MAX, .type = 3, .s = 1, .present = 1, .g = 1};
    for (unsigned i = 0; i < VCPU_SEGMENT_TR; i++)
        *vcpu_sregs_segment(sregs, i) = data;
    sregs->cs.selector = (uint16_t)(base >> 4);
    sregs->cs.base = base;
    sregs->idt.base = 0;
    sregs->idt.limit = 0;
    sregs->cr0 &= ~(uint64_t)(X86_CR0_PE | X86_CR0_EM | X86_CR0_TS | X86_CR0_PG);
    sregs->cr4 = 0;
    sregs->efer = 0;
}
