// SPDX-License-Identifier: BSD-2-Clause
// Which event enters the guest next, and how exceptions combine; shared by the back ends.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/virt.h"

enum vcpu_event_kind {
    EVENT_NONE,
    EVENT_EXCEPTION,
    EVENT_SOFT_EXCEPTION, // INT3, INTO: soft_length is used
    EVENT_NMI,
    EVENT_INTERRUPT,
    EVENT_SOFT_INTERRUPT, // INT n cut off
};

struct vcpu_event {
    enum vcpu_event_kind kind;
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint8_t soft_length;
    bool first_try; // an exception not injected before: DR6, CR2 were set from the payload, RF is
                    // due for faults
};

enum { // what the guest's state holds back, and what must be waited for
    EVENT_BLOCKS_INTERRUPT = 1,
    EVENT_BLOCKS_NMI = 2,
};

// An event is on its way in: nothing else, and no SMI, may come before it.
static inline bool vcpu_event_injecting(const struct virt_events *events) {
    return events->exception_pending || events->exception_injected || events->interrupt_injected ||
           events->nmi_injected || events->triple_fault;
}
// True if vcpu_event_select could find something. A few loads.
static inline bool vcpu_event_waiting(const struct virt_vcpu *vcpu) {
    const struct virt_events *events = &vcpu->events;
    return vcpu_event_injecting(events) ||
           atomic_load_explicit(&events->nmi_pending, memory_order_relaxed) ||
           events->user_interrupt >= 0 ||
           (vcpu->irqchip && (__atomic_load_n(&vcpu->lapic.irr_summary, __ATOMIC_RELAXED) ||
                              (vcpu->pic_output && *vcpu->pic_output))) ||
           vcpu->interrupt_window_requested;
}

// Takes the event to inject at this entry (SDM vol. 3 6.9's order: cut-off deliveries, exceptions,
// NMI, interrupts) and marks it injected. blocked: EVENT_BLOCKS_*. Returns what still waits for
// which block to go: the windows to open.
unsigned vcpu_event_select(struct virt_vcpu *vcpu, unsigned blocked, struct vcpu_event *event);
// The delivery ended, well or not: nothing counts as injected any more.
static inline void vcpu_event_delivered(struct virt_events *events) {
    events->exception_injected = events->interrupt_injected = events->nmi_injected = false;
}
