// SPDX-License-Identifier: BSD-2-Clause
// Events between struct virt_events and the VMCB: injection, windows, deliveries cut off by an
// exit.
#include <asm/processor-flags.h>
#include <asm/svm.h>
#include "arch/x86/svm/vcpu.h"

enum { VECTOR_BP = 3, VECTOR_OF = 4 };

// A virtual interrupt of the highest priority: it waits for IF alone.
#define VIRTUAL_INTERRUPT (V_IRQ | V_IGNORE_TPR | V_PRIORITY)

void svm_raise(struct virt_vcpu *vcpu, uint8_t vector) {
    virt_raise(vcpu, &(struct guest_exception){.vector = vector});
    svm_of(vcpu)->recheck_events = true;
}

void svm_raise_error(struct virt_vcpu *vcpu, uint8_t vector, uint32_t error) {
    virt_raise(vcpu, &(struct guest_exception){
                         .vector = vector, .has_error_code = true, .error_code = error});
    svm_of(vcpu)->recheck_events = true;
}

bool svm_interrupt_allowed(struct virt_vcpu *vcpu) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    const struct virt_events *events = &vcpu->events;
    if (events->exception_injected || events->interrupt_injected || events->nmi_injected)
        return false;
    return (vmcb->rflags & X86_EFLAGS_IF) && !(vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW);
}

// -- exit --

// RIP went ahead of the INT n, INT3 or INTO that was injected: back, and its length again.
static bool take_back_soft(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    if (!v->soft_advance)
        return false;
    if (!svm.next_rip)
        v->vmcb->rip -= v->soft_advance;
    vcpu->events.soft_length = v->soft_advance;
    return true;
}

static void cut_off(struct virt_vcpu *vcpu, struct svm_vcpu *v, uint64_t information) {
    struct virt_events *events = &vcpu->events;
    uint8_t vector = information & EVENTINJ_VECTOR;
    v->recheck_events = true;
    switch (information & EVENTINJ_TYPE) {
    case EVENTINJ_NMI:
        nmi_set_masked(v, false); // the second try masks again
        events->nmi_injected = true;
        break;
    case EVENTINJ_INTERRUPT:
        events->interrupt_injected = true;
        events->interrupt_vector = vector;
        events->interrupt_soft = false;
        break;
    case EVENTINJ_SOFT_INTERRUPT:
        // RIP is still at the guest's own INT n (APM vol. 2 15.7.2): it runs again.
        if (!take_back_soft(vcpu, v))
            break;
        events->interrupt_injected = events->interrupt_soft = true;
        events->interrupt_vector = vector;
        break;
    case EVENTINJ_EXCEPTION: {
        bool soft = vector == VECTOR_BP || vector == VECTOR_OF;
        if (soft && !take_back_soft(vcpu, v)) // so do INT3 and INTO
            break;
        events->exception_injected = true;
        events->exception_vector = vector;
        events->exception_soft = soft;
        events->exception_has_error = information & EVENTINJ_HAS_ERROR;
        events->exception_has_payload = false;
        events->exception_error = (uint32_t)(information >> 32);
        break;
    }
    default:
        break;
    }
}

// An exit came before the virtual interrupt was taken, or in the middle of its delivery: it is
// still pending. Its second try is the next entry.
static bool still_waits(struct svm_vcpu *v) {
    struct vmcb *vmcb = v->vmcb;
    if (!v->virtual_interrupt || !(vmcb->interrupt_control & V_IRQ))
        return false;
    vmcb->exit_event = 0;
    v->recheck_events = true;
    return true;
}

void svm_events_exit(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    if (v->injected) {
        if (!still_waits(v))
            vcpu_event_delivered(&vcpu->events);
        if (v->virtual_interrupt)
            v->vmcb->interrupt_control &= ~(uint32_t)VIRTUAL_INTERRUPT;
        v->virtual_interrupt = false;
        v->injected = false;
        v->vmcb->event = 0;
    }
    uint64_t information = v->vmcb->exit_event;
    if (information & EVENTINJ_VALID) {
        v->vmcb->exit_event = 0;
        cut_off(vcpu, v, information);
    }
    v->soft_advance = 0;
}

// -- entry --

static bool is_fault(uint8_t vector) {
    const uint32_t traps_and_aborts = 1u << 1 | 1u << 3 | 1u << 4 | 1u << 8 | 1u << 18;
    return !(traps_and_aborts >> vector & 1);
}

// The return address is that of the next instruction: the processor takes it from next RIP where it
// has that, else RIP must be there (APM vol. 2 15.20).
static void go_past_soft(struct svm_vcpu *v, uint8_t length) {
    v->soft_advance = length;
    v->vmcb->next_rip = v->vmcb->rip + length;
    if (!svm.next_rip)
        v->vmcb->rip = v->vmcb->next_rip;
}

static uint64_t inject_exception(struct svm_vcpu *v, const struct vcpu_event *event) {
    uint64_t information = EVENTINJ_EXCEPTION;
    // Real mode pushes no error code.
    if (event->has_error && (v->vmcb->cr0 & X86_CR0_PE))
        information |= EVENTINJ_HAS_ERROR | (uint64_t)(event->error & 0xffff) << 32;
    if (event->first_try && is_fault(event->vector))
        v->vmcb->rflags |= X86_EFLAGS_RF;
    if (event->vector == VECTOR_BP || event->vector == VECTOR_OF)
        go_past_soft(v, event->soft_length ? event->soft_length : 1);
    return information;
}

// Interrupts go in as virtual ones (APM vol. 2 15.21.4) where the guest takes them at once and no
// window is needed, which takes the same field. Event injection would do as well, but QEMU delivers
// an interrupt injected that way again where its own loop is left before the next exception.
static void inject_virtual(struct svm_vcpu *v, uint8_t vector) {
    v->vmcb->interrupt_vector = vector;
    v->vmcb->interrupt_control |= VIRTUAL_INTERRUPT;
    v->virtual_interrupt = v->injected = true;
}

static void inject(struct svm_vcpu *v, const struct vcpu_event *event) {
    uint64_t information = 0;
    switch (event->kind) {
    case EVENT_NONE:
        return;
    case EVENT_EXCEPTION:
    case EVENT_SOFT_EXCEPTION:
        information = inject_exception(v, event);
        break;
    case EVENT_NMI:
        information = EVENTINJ_NMI;
        if (!svm.virtual_nmi) // else VMRUN masks, and must not find it done (APM vol. 2 15.21.10)
            nmi_set_masked(v, true);
        break;
    case EVENT_SOFT_INTERRUPT:
        information = EVENTINJ_SOFT_INTERRUPT;
        go_past_soft(v, event->soft_length ? event->soft_length : 2);
        break;
    case EVENT_INTERRUPT:
        information = EVENTINJ_INTERRUPT;
        break;
    }
    v->vmcb->event = information | event->vector | EVENTINJ_VALID;
    v->injected = true;
}

static unsigned blocked_events(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    const struct vmcb *vmcb = v->vmcb;
    unsigned blocked = 0;
    if (vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW)
        blocked = EVENT_BLOCKS_INTERRUPT | EVENT_BLOCKS_NMI;
    if (nmi_masked(v))
        blocked |= EVENT_BLOCKS_NMI;
    if (!(vmcb->rflags & X86_EFLAGS_IF) || (vcpu->guest_debug.control & KVM_GUESTDBG_BLOCKIRQ))
        blocked |= EVENT_BLOCKS_INTERRUPT;
    return blocked;
}

// A virtual interrupt that exits instead of being taken.
static void set_interrupt_window(struct svm_vcpu *v, bool open) {
    uint32_t control = v->vmcb->interrupt_control & ~(uint32_t)VIRTUAL_INTERRUPT;
    v->vmcb->interrupt_control = open ? control | VIRTUAL_INTERRUPT : control;
    vmcb_intercept(v, SVM_EXIT_VINTR, open);
}

void svm_events_entry(struct virt_vcpu *vcpu, struct svm_vcpu *v) {
    struct vcpu_event event;
    v->recheck_events = false;
    unsigned blocked = blocked_events(vcpu, v);
    unsigned windows = vcpu_event_select(vcpu, blocked, &event);
    if (vcpu->irqchip)
        vmcb_intercept(v, SVM_EXIT_WRITE_CR8, lapic_tpr_threshold(&vcpu->lapic) != 0);
    // Interrupts that the debugger holds back wait until it lets them go, not for the guest.
    bool held_back = vcpu->guest_debug.control & KVM_GUESTDBG_BLOCKIRQ;
    bool window = (windows & EVENT_BLOCKS_INTERRUPT) && !held_back;
    set_interrupt_window(v, window);
    if (event.kind == EVENT_INTERRUPT && !window && !(blocked & EVENT_BLOCKS_INTERRUPT))
        inject_virtual(v, event.vector);
    else
        inject(v, &event);
    if (windows & EVENT_BLOCKS_NMI)
        nmi_open_window(vcpu, v, event.kind != EVENT_NONE);
}
