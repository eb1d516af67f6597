// SPDX-License-Identifier: BSD-2-Clause
// System-management mode (SDM vol. 3 32, APM vol. 2 10): entered by an SMI, left by RSM.
#include "core/kvm/vcpu.h"
#include "arch/x86/guest/smm.h"
#include "arch/x86/guest/vcpu_exit.h"
#include "core/kvm/guest_memory.h"

#define RFLAGS_FIXED 2

void smm_set(struct vcpu *vcpu, bool in_smm) {
    struct virt_vcpu *state = &vcpu->virt;
    if (state->in_smm == in_smm)
        return;
    state->in_smm = in_smm;
    virt->smm_changed(state);
    if (in_smm)
        return;
    uint32_t due = vcpu->init_latched ? ATTENTION_INIT : 0;
    due |= atomic_load(&state->events.smi_pending) ? ATTENTION_SMI : 0;
    vcpu->init_latched = false;
    atomic_fetch_or(&state->attention, due);
}

static void enter(struct vcpu *vcpu) {
    struct virt_vcpu *state = &vcpu->virt;
    struct smm_state area = {.base = (uint32_t)state->msrs.smbase,
                             .interrupt_shadow = (uint8_t)virt->get_interrupt_shadow(state),
                             .dr7 = state->dr7,
                             .dr6 = state->dr6,
                             .rflags = virt_get_rflags(state),
                             .rip = virt->get(state, BACKEND_RIP)};
    struct kvm_sregs sregs;
    state->gpr[4] = virt->get(state, BACKEND_RSP);
    virt_get_sregs(state, &sregs);
    smm_save(&area, &sregs, state->gpr);
    smm_set(vcpu, true);
    // Without memory there the state is lost, as on a board.
    vcpu_write_guest(vcpu, (area.base + SMM_STATE) | MEMSLOT_SMM, &area, sizeof(area));
    vcpu->nmi_masked_before_smm = virt->get_nmi_masked(state);
    virt->set_nmi_masked(state, true);
    smm_enter(&sregs, area.base);
    virt_set_sregs(state, &sregs);
    virt_set_rflags(state, RFLAGS_FIXED);
    virt->set(state, BACKEND_RIP, SMM_ENTRY);
    virt->set_interrupt_shadow(state, 0);
    state->dr7 = DR7_FIXED;
    virt->debug_changed(state);
}

void smm_interrupt(struct vcpu *vcpu) {
    struct virt_vcpu *state = &vcpu->virt;
    bool runs = vcpu->mp_state == KVM_MP_STATE_RUNNABLE || vcpu->mp_state == KVM_MP_STATE_HALTED;
    if (state->in_smm || !runs)
        return;
    if (vcpu_event_injecting(&state->events)) { // the back end lets the delivery end first
        atomic_fetch_or(&state->attention, ATTENTION_SMI);
        return;
    }
    if (!atomic_exchange(&state->events.smi_pending, false))
        return;
    state->msrs.smi_count++;
    vcpu->mp_state = KVM_MP_STATE_RUNNABLE; // RSM goes on after HLT
    enter(vcpu);
}

// What the area says may be nonsense: the processor shuts down then.
void smm_resume(struct vcpu *vcpu) {
    struct virt_vcpu *state = &vcpu->virt;
    struct smm_state area;
    struct kvm_sregs sregs;
    uint64_t place = (state->msrs.smbase + SMM_STATE) | MEMSLOT_SMM;
    virt_get_sregs(state, &sregs);
    if (vcpu_read_guest(vcpu, place, &area, sizeof(area))) {
        state->events.triple_fault = true;
        return;
    }
    smm_load(&area, &sregs, state->gpr);
    smm_set(vcpu, false);
    if (virt_set_sregs(state, &sregs)) {
        state->events.triple_fault = true;
        return;
    }
    virt->set(state, BACKEND_RSP, state->gpr[4]);
    virt->set(state, BACKEND_RIP, area.rip);
    virt_set_rflags(state, area.rflags | RFLAGS_FIXED);
    virt->set_interrupt_shadow(state, area.interrupt_shadow);
    virt->set_nmi_masked(state, vcpu->nmi_masked_before_smm);
    state->msrs.smbase = area.base;
    state->dr6 = (area.dr6 & DR6_VOLATILE) | DR6_FIXED;
    state->dr7 = (uint32_t)area.dr7 | DR7_FIXED;
    virt->debug_changed(state);
}
