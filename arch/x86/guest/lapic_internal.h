// SPDX-License-Identifier: BSD-2-Clause
// Shared by the local APIC's files only.
#pragma once
#include "lapic.h"

#define LVT_MASKED     (1u << 16)
#define LVT_LEVEL      (1u << 15)
#define LVT_TIMER_MODE (3u << 17)
#define TIMER_ONE_SHOT 0u
#define TIMER_PERIODIC (1u << 17)
#define TIMER_TSC      (2u << 17)
#define SVR_ENABLE     (1u << 8)

#define ESR_SEND_ILLEGAL     (1u << 5)
#define ESR_RECEIVED_ILLEGAL (1u << 6)

static inline uint32_t *lapic_word(struct lapic *lapic, uint32_t offset) {
    return (uint32_t *)(lapic->regs + offset);
}
static inline void lapic_store(struct lapic *lapic, uint32_t offset, uint32_t value) {
    __atomic_store_n(lapic_word(lapic, offset), value, __ATOMIC_RELAXED);
}

void lapic_update_enabled(struct lapic *lapic);
void lapic_set_tpr(struct lapic *lapic, uint32_t tpr);
void lapic_report_error(struct lapic *lapic, uint32_t esr_bit);

// Cancels without touching the initial count register's reader-visible value.
void lapic_timer_stop(struct lapic *lapic);
void lapic_timer_write_lvt(struct lapic *lapic, uint32_t value);
void lapic_timer_write_initial(struct lapic *lapic, uint32_t count);
void lapic_timer_write_divide(struct lapic *lapic, uint32_t value);
uint32_t lapic_timer_current(const struct lapic *lapic);
// Starts again from the registers just loaded by KVM_SET_LAPIC.
void lapic_timer_restore(struct lapic *lapic);
