// SPDX-License-Identifier: BSD-2-Clause
// Which event enters the guest next, and how exceptions combine; shared by the back ends.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/virt.h"

// Both vendors' types (SDM vol. 3 table 25-17, APM vol. 2 15.20).
enum vcpu_event_kind {
    EVENT_INTERRUPT = 0,
    EVENT_NMI = 2,
    EVENT_EXCEPTION = 3,
    EVENT_SOFT_INTERRUPT = 4,  // INT n cut off
    EVENT_PRIVILEGED_SOFT = 5, // INT1; Intel's alone, as is the next
    EVENT_SOFT_EXCEPTION = 6,  // INT3, INTO
    EVENT_NONE = 8,
};

enum { // interruption information, EVENTINJ and EXITINTINFO alike; AMD's error is in bits 63:32
    EVENT_VECTOR = 0xff,
    EVENT_TYPE_SHIFT = 8,
    EVENT_TYPE = 7 << EVENT_TYPE_SHIFT,
    EVENT_HAS_ERROR = 1 << 11,
};
#define EVENT_VALID (1u << 31)

struct vcpu_event {
    enum vcpu_event_kind kind;
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint8_t soft_length; // of the instruction, for the soft ones
    bool sets_rf;        // a fault's first try: RF is due in the flags that are pushed
};

static inline uint32_t vcpu_event_information(const struct vcpu_event *event,
                                              enum vcpu_event_kind kind) {
    return event->vector | (uint32_t)kind << EVENT_TYPE_SHIFT |
           (event->has_error ? EVENT_HAS_ERROR : 0) | EVENT_VALID;
}

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
// What the guest's state holds back: EVENT_BLOCKS_*. Some processors hold NMIs back after STI as
// well, so both wait for a shadow's end (SDM vol. 3 27.3.1.5).
static inline unsigned vcpu_event_blocks(bool shadow, bool nmi_masked, bool interrupts_enabled) {
    return (shadow ? EVENT_BLOCKS_INTERRUPT | EVENT_BLOCKS_NMI : 0) |
           (nmi_masked ? EVENT_BLOCKS_NMI : 0) | (interrupts_enabled ? 0 : EVENT_BLOCKS_INTERRUPT);
}
// An exit has ended a delivery half-way: it is tried again at the next entry. length: of the
// instruction, for the soft ones.
void vcpu_event_cut_off(struct virt_vcpu *vcpu, uint32_t information, uint32_t error,
                        uint8_t length);
// The delivery ended, well or not: nothing counts as injected any more.
static inline void vcpu_event_delivered(struct virt_events *events) {
    events->exception_injected = events->interrupt_injected = events->nmi_injected = false;
}
