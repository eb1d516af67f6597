// SPDX-License-Identifier: BSD-2-Clause
// Events between struct virt_events and the VMCS: injection, windows, deliveries cut off by an
// exit.
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_event.h"
#include "arch/x86/vmx/vcpu.h"

void vmx_raise(struct virt_vcpu *vcpu, uint8_t vector) {
    virt_raise(vcpu, &(struct guest_exception){.vector = vector});
    vmx_of(vcpu)->recheck_events = true;
}

void vmx_raise_error(struct virt_vcpu *vcpu, uint8_t vector, uint32_t error) {
    virt_raise(vcpu, &(struct guest_exception){
                         .vector = vector, .has_error_code = true, .error_code = error});
    vmx_of(vcpu)->recheck_events = true;
}

bool vmx_interrupt_allowed(struct virt_vcpu *vcpu) {
    vmcs_use(vmx_of(vcpu));
    const struct virt_events *events = &vcpu->events;
    if (events->exception_injected || events->interrupt_injected || events->nmi_injected)
        return false;
    return (vmread(VMCS_GUEST_RFLAGS) & X86_EFLAGS_IF) &&
           !(vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS));
}

// -- exit --

void vmx_events_exit(struct virt_vcpu *vcpu, struct vmx_vcpu *v) {
    struct virt_events *events = &vcpu->events;
    if (v->injected) {
        vcpu_event_delivered(events);
        v->injected = false;
    }
    uint32_t information = (uint32_t)vmread(VMCS_IDT_VECTORING);
    if (__builtin_expect(!(information & INTERRUPTION_VALID), 1))
        return;
    uint8_t vector = information & INTERRUPTION_VECTOR;
    uint32_t type = information & INTERRUPTION_TYPE;
    v->recheck_events = true;
    switch (type) {
    case INTERRUPTION_NMI:
        // The second try sets the blocking again; until then it would make the entry invalid (SDM
        // vol. 3 27.3.1.5).
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY,
                vmread(VMCS_GUEST_INTERRUPTIBILITY) & ~(uint64_t)BLOCKING_NMI);
        events->nmi_injected = true;
        return;
    case INTERRUPTION_EXTERNAL:
    case INTERRUPTION_SOFT_INTERRUPT:
        events->interrupt_injected = true;
        events->interrupt_vector = vector;
        events->interrupt_soft = type == INTERRUPTION_SOFT_INTERRUPT;
        break;
    default:
        events->exception_injected = true;
        events->exception_vector = vector;
        events->exception_soft = type != INTERRUPTION_EXCEPTION;
        events->exception_has_error = information & INTERRUPTION_HAS_ERROR;
        events->exception_has_payload = false;
        if (events->exception_has_error)
            events->exception_error = (uint32_t)vmread(VMCS_IDT_VECTORING_ERROR);
        break;
    }
    if (type >= INTERRUPTION_SOFT_INTERRUPT)
        events->soft_length = (uint8_t)vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
}

// -- entry --

static bool is_fault(uint8_t vector) {
    const uint32_t traps_and_aborts = 1u << 1 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 18;
    return !(traps_and_aborts >> vector & 1);
}

static uint32_t exception_type(const struct vcpu_event *event) {
    // INT3 and INTO by their instruction; INT1 cannot get here, #DB exits are injected as hardware
    // exceptions.
    if (event->kind == EVENT_SOFT_EXCEPTION || event->vector == 3 || event->vector == 4)
        return INTERRUPTION_SOFT_EXCEPTION;
    return INTERRUPTION_EXCEPTION;
}

static void inject(struct vmx_vcpu *v, const struct vcpu_event *event) {
    uint32_t information = event->vector | INTERRUPTION_VALID;
    switch (event->kind) {
    case EVENT_NONE:
        return;
    case EVENT_EXCEPTION:
    case EVENT_SOFT_EXCEPTION:
        // Where HLT does not exit the guest may be in it, which an exception ends: the entry would
        // fail (SDM vol. 3 27.3.1.5).
        if (!(v->cpu_controls & CPU_HLT))
            vmwrite(VMCS_GUEST_ACTIVITY, 0);
        information |= exception_type(event);
        // Real mode pushes no error code (SDM vol. 3 27.2.1.3).
        if (event->has_error && (vmread(VMCS_GUEST_CR0) & X86_CR0_PE)) {
            information |= INTERRUPTION_HAS_ERROR;
            vmwrite(VMCS_ENTRY_EXCEPTION_ERROR, event->error & 0xffff);
        }
        if (event->first_try && is_fault(event->vector))
            vmwrite(VMCS_GUEST_RFLAGS, vmread(VMCS_GUEST_RFLAGS) | X86_EFLAGS_RF);
        if (information & INTERRUPTION_TYPE & (4u << 8))
            vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, event->soft_length ? event->soft_length : 1);
        break;
    case EVENT_NMI:
        information |= INTERRUPTION_NMI;
        break;
    case EVENT_SOFT_INTERRUPT:
        information |= INTERRUPTION_SOFT_INTERRUPT;
        vmwrite(VMCS_ENTRY_INSTRUCTION_LENGTH, event->soft_length);
        break;
    case EVENT_INTERRUPT:
        information |= INTERRUPTION_EXTERNAL;
        break;
    }
    vmwrite(VMCS_ENTRY_INTERRUPTION, information);
    v->injected = true;
}

static unsigned blocked_events(struct virt_vcpu *vcpu) {
    uint64_t interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    unsigned blocked = 0;
    // Some processors hold NMIs back after STI as well, so both wait (SDM vol. 3 27.3.1.5).
    if (interruptibility & (BLOCKING_STI | BLOCKING_MOV_SS))
        blocked = EVENT_BLOCKS_INTERRUPT | EVENT_BLOCKS_NMI;
    if (interruptibility & BLOCKING_NMI)
        blocked |= EVENT_BLOCKS_NMI;
    if (!(vmread(VMCS_GUEST_RFLAGS) & X86_EFLAGS_IF) ||
        (vcpu->guest_debug.control & KVM_GUESTDBG_BLOCKIRQ))
        blocked |= EVENT_BLOCKS_INTERRUPT;
    return blocked;
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
    v->recheck_events = false;
    unsigned windows = vcpu_event_select(vcpu, blocked_events(vcpu), &event);
    inject(v, &event);
    if (vcpu->irqchip)
        update_tpr_threshold(vcpu, v);
    uint32_t set = (windows & EVENT_BLOCKS_INTERRUPT ? CPU_INTERRUPT_WINDOW : 0) |
                   (windows & EVENT_BLOCKS_NMI ? CPU_NMI_WINDOW : 0);
    vmcs_set_cpu_controls(v, set, (CPU_INTERRUPT_WINDOW | CPU_NMI_WINDOW) & ~set);
}
