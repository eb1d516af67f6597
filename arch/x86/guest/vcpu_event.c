// SPDX-License-Identifier: BSD-2-Clause
// Exceptions raised by the hypervisor, and the choice of the next event.
#include "arch/x86/guest/vcpu_exit.h"
#include <asm/processor-flags.h>

#define DF                8
#define DR6_CLEARED_BY_DB 0xfull // B0-B3; the others are sticky

enum exception_class { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE_FAULT, CLASS_DOUBLE_FAULT };

// SDM vol. 3 table 6-4.
static enum exception_class class_of(uint8_t vector) {
    switch (vector) {
    case GUEST_DE:
    case 10:
    case 11:
    case GUEST_SS:
    case GUEST_GP:
        return CLASS_CONTRIBUTORY;
    case GUEST_PF:
        return CLASS_PAGE_FAULT;
    case DF:
        return CLASS_DOUBLE_FAULT;
    default:
        return CLASS_BENIGN;
    }
}

enum combination { COMBINE_NEW, COMBINE_DOUBLE, COMBINE_TRIPLE };

// SDM vol. 3 table 6-5: `second` is raised while `first` is being delivered.
static enum combination combine(uint8_t first, uint8_t second) {
    enum exception_class a = class_of(first), b = class_of(second);
    if (a == CLASS_DOUBLE_FAULT && (b == CLASS_CONTRIBUTORY || b == CLASS_PAGE_FAULT))
        return COMBINE_TRIPLE;
    if ((a == CLASS_CONTRIBUTORY && b == CLASS_CONTRIBUTORY) ||
        (a == CLASS_PAGE_FAULT && (b == CLASS_CONTRIBUTORY || b == CLASS_PAGE_FAULT)))
        return COMBINE_DOUBLE;
    return COMBINE_NEW;
}

void virt_raise(struct virt_vcpu *vcpu, const struct guest_exception *exception) {
    struct virt_events *events = &vcpu->events;
    enum combination result = COMBINE_NEW;
    vcpu->recheck_events = true;
    if (events->exception_pending || events->exception_injected)
        result = combine(events->exception_vector, exception->vector);
    if (result == COMBINE_TRIPLE) {
        events->triple_fault = true;
        return;
    }
    bool twice = result == COMBINE_DOUBLE;
    events->exception_injected = false;
    events->exception_pending = true;
    events->exception_soft = false;
    events->soft_length = 0;
    events->exception_vector = twice ? DF : exception->vector;
    events->exception_has_error = twice || exception->has_error_code;
    events->exception_error = twice ? 0 : exception->error_code;
    events->exception_has_payload =
        exception->vector == GUEST_PF || (!twice && exception->vector == GUEST_DB);
    events->exception_payload = exception->cr2;
    // The second page fault of a double fault has written CR2 already.
    if (twice && exception->vector == GUEST_PF) {
        vcpu->cr2 = exception->cr2;
        events->exception_has_payload = false;
    }
}

void virt_raise_vector(struct virt_vcpu *vcpu, uint8_t vector) {
    virt_raise(vcpu, &(struct guest_exception){.vector = vector});
}

void virt_raise_error(struct virt_vcpu *vcpu, uint8_t vector, uint32_t error) {
    virt_raise(vcpu, &(struct guest_exception){
                         .vector = vector, .has_error_code = true, .error_code = error});
}

void virt_deliver_payload(struct virt_vcpu *vcpu) {
    struct virt_events *events = &vcpu->events;
    if (events->exception_vector == GUEST_DB) {
        if (events->exception_has_payload) {
            vcpu->dr6 &= ~DR6_CLEARED_BY_DB;
            vcpu->dr6 |= events->exception_payload & DR6_VOLATILE;
        }
        vcpu->dr7 &= ~DR7_GD;
    } else if (events->exception_vector == GUEST_PF && events->exception_has_payload) {
        vcpu->cr2 = events->exception_payload;
    }
    events->exception_has_payload = false;
}

static bool is_fault(uint8_t vector) {
    const uint32_t traps_and_aborts = 1u << 1 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 18;
    return !(traps_and_aborts >> vector & 1);
}

static void select_exception(struct virt_vcpu *vcpu, struct vcpu_event *event) {
    struct virt_events *events = &vcpu->events;
    uint8_t vector = events->exception_vector;
    bool soft = events->exception_soft || vector == GUEST_BP || vector == GUEST_OF;
    event->sets_rf = events->exception_pending && is_fault(vector);
    if (events->exception_pending)
        virt_deliver_payload(vcpu);
    events->exception_pending = false;
    events->exception_injected = true;
    event->kind = soft ? EVENT_SOFT_EXCEPTION : EVENT_EXCEPTION;
    event->vector = vector;
    // Real mode pushes no error code (SDM vol. 3 27.2.1.3).
    event->has_error = events->exception_has_error && (virt->get(vcpu, BACKEND_CR0) & X86_CR0_PE);
    event->error = (uint16_t)events->exception_error;
    event->soft_length = events->soft_length ? events->soft_length : 1;
}

static bool select_cut_off(struct virt_vcpu *vcpu, struct vcpu_event *event) {
    struct virt_events *events = &vcpu->events;
    if (events->exception_injected) {
        select_exception(vcpu, event);
    } else if (events->nmi_injected) {
        event->kind = EVENT_NMI;
        event->vector = 2;
    } else if (events->interrupt_injected) {
        event->kind = events->interrupt_soft ? EVENT_SOFT_INTERRUPT : EVENT_INTERRUPT;
        event->vector = events->interrupt_vector;
        event->soft_length = events->soft_length ? events->soft_length : 2;
    } else {
        return false;
    }
    return true;
}

static bool pic_interrupt(struct virt_vcpu *vcpu) {
    return vcpu->irqchip && vcpu->pic_output && *vcpu->pic_output &&
           lapic_accepts_pic(&vcpu->lapic);
}

// User space's vector, the PIC's, then the local APIC's (as KVM: ExtINT goes first).
static bool interrupt_waiting(struct virt_vcpu *vcpu, int *lapic_vector) {
    *lapic_vector = vcpu->irqchip ? lapic_pending_vector(&vcpu->lapic) : -1;
    return vcpu->events.user_interrupt >= 0 || pic_interrupt(vcpu) || *lapic_vector >= 0;
}

static void select_interrupt(struct virt_vcpu *vcpu, int lapic_vector, struct vcpu_event *event) {
    struct virt_events *events = &vcpu->events;
    events->interrupt_of_lapic = false;
    if (events->user_interrupt >= 0) {
        events->interrupt_vector = (uint8_t)events->user_interrupt;
        events->user_interrupt = -1;
    } else if (pic_interrupt(vcpu)) {
        events->interrupt_vector = vcpu->pic_acknowledge(vcpu);
    } else {
        events->interrupt_vector = (uint8_t)lapic_vector;
        events->interrupt_of_lapic = true;
        lapic_accept(&vcpu->lapic, (uint8_t)lapic_vector);
    }
    events->interrupt_injected = true;
    events->interrupt_soft = false;
    event->kind = EVENT_INTERRUPT;
    event->vector = events->interrupt_vector;
    vcpu->statistics.injections++;
}

static void select_nmi(struct virt_vcpu *vcpu, struct vcpu_event *event) {
    atomic_fetch_sub(&vcpu->events.nmi_pending, 1);
    vcpu->events.nmi_injected = true;
    event->kind = EVENT_NMI;
    event->vector = 2;
    vcpu->statistics.nmi_injections++;
}

// KVM_GUESTDBG_BLOCKIRQ: a debugger steps without being led into interrupt handlers.
static bool debugger_blocks(const struct virt_vcpu *vcpu) {
    return vcpu->user_debug && (vcpu->guest_debug.control & KVM_GUESTDBG_BLOCKIRQ);
}

unsigned vcpu_event_select(struct virt_vcpu *vcpu, unsigned blocked, struct vcpu_event *event) {
    struct virt_events *events = &vcpu->events;
    int lapic_vector;
    unsigned windows = 0;

    *event = (struct vcpu_event){.kind = EVENT_NONE};
    if (!select_cut_off(vcpu, event) && events->exception_pending)
        select_exception(vcpu, event);
    if (debugger_blocks(vcpu))
        return 0;
    if (atomic_load(&events->nmi_pending) && event->kind == EVENT_NONE &&
        !(blocked & EVENT_BLOCKS_NMI))
        select_nmi(vcpu, event);
    if (atomic_load(&events->nmi_pending))
        windows |= EVENT_BLOCKS_NMI;
    if (!interrupt_waiting(vcpu, &lapic_vector))
        return windows | (vcpu->interrupt_window_requested ? EVENT_BLOCKS_INTERRUPT : 0);
    if (event->kind == EVENT_NONE && !(blocked & EVENT_BLOCKS_INTERRUPT)) {
        select_interrupt(vcpu, lapic_vector, event);
        if (!interrupt_waiting(vcpu, &lapic_vector))
            return windows | (vcpu->interrupt_window_requested ? EVENT_BLOCKS_INTERRUPT : 0);
    }
    return windows | EVENT_BLOCKS_INTERRUPT;
}

void vcpu_event_cut_off(struct virt_vcpu *vcpu, uint32_t information, uint32_t error,
                        uint8_t length) {
    struct virt_events *events = &vcpu->events;
    enum vcpu_event_kind kind = (information & EVENT_TYPE) >> EVENT_TYPE_SHIFT;
    uint8_t vector = information & EVENT_VECTOR;
    vcpu->recheck_events = true;
    events->soft_length = length;
    switch (kind) {
    case EVENT_NMI:
        virt->set_nmi_masked(vcpu, false); // the second try masks again
        events->nmi_injected = true;
        break;
    case EVENT_INTERRUPT:
    case EVENT_SOFT_INTERRUPT:
        events->interrupt_injected = true;
        events->interrupt_vector = vector;
        events->interrupt_soft = kind == EVENT_SOFT_INTERRUPT;
        break;
    default:
        events->exception_injected = true;
        events->exception_vector = vector;
        events->exception_soft = kind != EVENT_EXCEPTION;
        events->exception_has_error = information & EVENT_HAS_ERROR;
        events->exception_has_payload = false;
        events->exception_error = error;
        break;
    }
}

void vcpu_event_take_back(struct virt_vcpu *vcpu) {
    struct virt_events *events = &vcpu->events;
    if (!events->interrupt_of_lapic || !lapic_take_back(&vcpu->lapic, events->interrupt_vector))
        return;
    events->interrupt_injected = false;
    vcpu->statistics.injections--;
}

bool virt_interrupt_allowed(struct virt_vcpu *vcpu) {
    const struct virt_events *events = &vcpu->events;
    if (events->exception_injected || events->interrupt_injected || events->nmi_injected)
        return false;
    return (virt->get(vcpu, BACKEND_RFLAGS) & X86_EFLAGS_IF) && !virt->get_interrupt_shadow(vcpu);
}
