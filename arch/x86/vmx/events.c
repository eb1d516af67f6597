// SPDX-License-Identifier: BSD-2-Clause
// Events between struct virt_events and the VMCS: injection, windows, deliveries cut off by an
// exit.
#include <asm/processor-flags.h>
#include "arch/x86/vmx/vcpu.h"

void vmx_events_exit(struct virt_vcpu *vcpu) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    if (v->injected) {
        vcpu_event_delivered(&vcpu->events);
        v->injected = false;
    }
    uint32_t information = (uint32_t)vmread(VMCS_IDT_VECTORING);
    if (__builtin_expect(!(information & EVENT_VALID), 1))
        return;
    uint64_t error = information & EVENT_HAS_ERROR ? vmread(VMCS_IDT_VECTORING_ERROR) : 0;
    vcpu_event_cut_off(vcpu, information, (uint32_t)error,
                       (uint8_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH));
}

static void inject(struct vmx_vcpu *v, const struct vcpu_event *event) {
    if (event->kind == EVENT_NONE)
        return;
    // Where HLT does not exit the guest may be in it, which an exception ends: the entry would fail
    // (SDM vol. 3 27.3.1.5).
    bool exception = event->kind == EVENT_EXCEPTION || event->kind == EVENT_SOFT_EXCEPTION;
    if (exception && !(v->cpu_controls & CPU_HLT))
        vmwrite(VMCS_GUEST_ACTIVITY, 0);
    if (event->has_error)
        vmwrite(VMCS_ENTRY_EXCEPTION_ERROR, event->error);
    if (event->sets_rf)
        vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | X86_EFLAGS_RF);
    if (event->kind >= EVENT_SOFT_INTERRUPT)
        vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, event->soft_length);
    vmwrite(VMCS_ENTRY_INTERRUPTION, vcpu_event_information(event, event->kind));
    v->injected = true;
}

static unsigned blocked_events(void) {
    uint64_t state = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    return vcpu_event_blocks(state & (BLOCKING_STI | BLOCKING_MOV_SS), state & BLOCKING_NMI,
                             vmread(VMCS_GUEST_RFLAGS) & X86_EFLAGS_IF);
}

static void update_tpr_threshold(struct virt_vcpu *vcpu, struct vmx_vcpu *v) {
    uint32_t threshold = lapic_tpr_threshold(&vcpu->lapic);
    if (threshold != v->tpr_threshold) {
        v->tpr_threshold = threshold;
        vmwrite(VMCS_TPR_THRESHOLD, threshold);
    }
}

void vmx_events_entry(struct virt_vcpu *vcpu, struct vmx_vcpu *v) {
    struct vcpu_event event;
    vcpu->recheck_events = false;
    unsigned windows = vcpu_event_select(vcpu, blocked_events(), &event);
    inject(v, &event);
    if (vcpu->irqchip)
        update_tpr_threshold(vcpu, v);
    uint32_t set = (windows & EVENT_BLOCKS_INTERRUPT ? CPU_INTERRUPT_WINDOW : 0) |
                   (windows & EVENT_BLOCKS_NMI ? CPU_NMI_WINDOW : 0);
    vmcs_set_cpu_controls(v, set, (CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW) & ~set);
}
