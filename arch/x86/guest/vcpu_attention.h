// SPDX-License-Identifier: BSD-2-Clause
// Whether a vCPU may enter the guest (again): shared by the back ends' run loops.
#pragma once
#include "arch/x86/guest/vcpu_exit.h"
#include "core/sched/thread.h"

// Nonzero if somebody wants something of this vCPU or its thread. Three loads.
static inline uint32_t vcpu_look(const struct virt_vcpu *vcpu, const struct cpu *cpu) {
    return atomic_load_explicit(&vcpu->attention, memory_order_acquire) |
           atomic_load_explicit(&cpu->reschedule, memory_order_relaxed) |
           atomic_load_explicit(&cpu->current->work, memory_order_relaxed);
}

// After vcpu_look. False: it was only an event for the guest; go on.
static inline bool vcpu_must_leave(struct virt_vcpu *vcpu, struct cpu *cpu,
                                   struct virt_exit *exit) {
    uint32_t attention = atomic_load_explicit(&vcpu->attention, memory_order_acquire);
    uint32_t here = ATTENTION_EVENT;
    if (__builtin_expect(attention & ATTENTION_SMI, 0) && vcpu_event_injecting(&vcpu->events)) {
        here |= ATTENTION_SMI;
        cpu_kick(cpu); // ends the guest right after the delivery
    }
    if ((attention & ~here) || cpu->reschedule || cpu->current->work) {
        exit->kind = VIRT_EXIT_ATTENTION;
        return true;
    }
    atomic_fetch_and(&vcpu->attention, ~(uint32_t)ATTENTION_EVENT);
    vcpu->recheck_events = true;
    return false;
}

// A triple fault that was raised ends the run in VIRT_EXIT_SHUTDOWN instead of an entry.
static inline bool vcpu_event_triple_fault(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    if (!vcpu->events.triple_fault)
        return false;
    vcpu->events.triple_fault = false;
    exit->kind = VIRT_EXIT_SHUTDOWN;
    return true;
}
