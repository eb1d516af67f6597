// SPDX-License-Identifier: BSD-2-Clause
// The local APIC's timer (SDM vol. 3 11.5.4). Its input clock is 1 GHz, as KVM's: one tick is 1 ns.
#include "lapic_internal.h"
#include "timer_limit.h"

static uint32_t timer_mode(const struct lapic *lapic) {
    return lapic_reg(lapic, LAPIC_LVT_TIMER) & LVT_TIMER_MODE;
}

static unsigned divide_shift(const struct lapic *lapic) {
    uint32_t divide = lapic_reg(lapic, LAPIC_TIMER_DIVIDE);
    return (((divide & 3) | ((divide & 8) >> 1)) + 1) & 7;
}

static void arm(struct lapic *lapic, uint64_t deadline) {
    if (lapic->timer_deadline_ns == deadline)
        return;
    lapic->timer_deadline_ns = deadline;
    lapic->ops->timer_changed(lapic);
}

void lapic_timer_stop(struct lapic *lapic) {
    lapic->timer_period_ns = 0;
    arm(lapic, LAPIC_NEVER);
}

// now + ns without wrapping into the past.
static uint64_t later(uint64_t now, uint64_t ns) {
    return ns >= LAPIC_NEVER - now ? LAPIC_NEVER - 1 : now + ns;
}

static uint64_t period_ns(const struct lapic *lapic) {
    uint64_t ns = (uint64_t)lapic_reg(lapic, LAPIC_TIMER_INITIAL) << divide_shift(lapic);

    if (ns && timer_mode(lapic) == TIMER_PERIODIC && ns < GUEST_TIMER_MINIMUM_PERIOD)
        ns = GUEST_TIMER_MINIMUM_PERIOD;
    return ns;
}

static void start_count(struct lapic *lapic, uint64_t first_ns) {
    lapic->timer_period_ns = period_ns(lapic);
    if (lapic->timer_period_ns == 0) {
        arm(lapic, LAPIC_NEVER);
        return;
    }
    lapic->timer_start_ns = lapic->ops->now_ns(lapic);
    arm(lapic, later(lapic->timer_start_ns, first_ns ? first_ns : lapic->timer_period_ns));
}

static void start_tsc(struct lapic *lapic) {
    if (lapic->tsc_deadline == 0 || lapic->guest_tsc_khz == 0) {
        arm(lapic, LAPIC_NEVER);
        return;
    }
    uint64_t tsc = lapic->ops->guest_tsc(lapic);
    uint64_t ticks = lapic->tsc_deadline > tsc ? lapic->tsc_deadline - tsc : 0;
    uint64_t ms = ticks / lapic->guest_tsc_khz, rest = ticks % lapic->guest_tsc_khz;
    uint64_t ns =
        ms > UINT64_MAX / 2000000
            ? UINT64_MAX / 2
            : ms * 1000000 + (rest * 1000000 + lapic->guest_tsc_khz - 1) / lapic->guest_tsc_khz;
    arm(lapic, later(lapic->ops->now_ns(lapic), ns));
}

bool lapic_timer_expired(struct lapic *lapic) {
    uint64_t now, deadline = lapic->timer_deadline_ns;

    if (deadline == LAPIC_NEVER)
        return false;
    now = lapic->ops->now_ns(lapic);
    if (now < deadline) {
        // Of an earlier setting, or by another CPU's clock, which is ahead: then there is no other.
        lapic->ops->timer_changed(lapic);
        return false;
    }
    switch (timer_mode(lapic)) {
    case TIMER_PERIODIC:
        // Missed periods are one interrupt: IRR holds no count.
        lapic->timer_start_ns = now - (now - deadline) % lapic->timer_period_ns;
        arm(lapic, later(lapic->timer_start_ns, lapic->timer_period_ns));
        break;
    case TIMER_TSC:
        lapic->tsc_deadline = 0;
        arm(lapic, LAPIC_NEVER);
        break;
    default:
        arm(lapic, LAPIC_NEVER);
    }
    return lapic_local_interrupt(lapic, LAPIC_LVT_TIMER) == LAPIC_POSTED;
}

uint32_t lapic_timer_current(const struct lapic *lapic) {
    struct lapic *mutable = (struct lapic *)lapic; // ops take the object they are embedded in
    uint64_t now;

    if (timer_mode(lapic) == TIMER_TSC || lapic->timer_period_ns == 0)
        return 0;
    now = lapic->ops->now_ns(mutable);
    uint64_t left = 0;
    if (lapic->timer_deadline_ns == LAPIC_NEVER)
        return 0;
    if (now < lapic->timer_deadline_ns)
        left = lapic->timer_deadline_ns - now;
    else if (timer_mode(lapic) == TIMER_PERIODIC)
        left = lapic->timer_period_ns - (now - lapic->timer_deadline_ns) % lapic->timer_period_ns;
    return (uint32_t)(left >> divide_shift(lapic));
}

void lapic_timer_write_lvt(struct lapic *lapic, uint32_t value) {
    uint32_t old = timer_mode(lapic);
    uint32_t new = value &LVT_TIMER_MODE;

    lapic_store(lapic, LAPIC_LVT_TIMER, value);
    if (old == new)
        return;
    // Entering or leaving TSC-deadline mode disarms (SDM vol. 3 11.5.4.1).
    if (old == TIMER_TSC || new == TIMER_TSC) {
        lapic_store(lapic, LAPIC_TIMER_INITIAL, 0);
        lapic->tsc_deadline = 0;
        lapic_timer_stop(lapic);
    } else if (lapic->timer_deadline_ns != LAPIC_NEVER) {
        lapic->timer_period_ns = period_ns(lapic);
    }
}

void lapic_timer_write_initial(struct lapic *lapic, uint32_t count) {
    if (timer_mode(lapic) == TIMER_TSC)
        return;
    lapic_store(lapic, LAPIC_TIMER_INITIAL, count);
    start_count(lapic, 0);
}

void lapic_timer_write_divide(struct lapic *lapic, uint32_t value) {
    uint32_t left = lapic_timer_current(lapic);

    lapic_store(lapic, LAPIC_TIMER_DIVIDE, value & 0xb);
    if (lapic->timer_deadline_ns != LAPIC_NEVER && timer_mode(lapic) != TIMER_TSC)
        start_count(lapic, (uint64_t)left << divide_shift(lapic));
}

void lapic_timer_restore(struct lapic *lapic) {
    if (timer_mode(lapic) == TIMER_TSC) {
        lapic->timer_period_ns = 0;
        start_tsc(lapic);
        return;
    }
    lapic->tsc_deadline = 0;
    uint64_t left = lapic_reg(lapic, LAPIC_TIMER_CURRENT);
    // A one-shot that has run out stays so.
    if (left == 0 && timer_mode(lapic) == TIMER_ONE_SHOT)
        lapic_timer_stop(lapic);
    else
        start_count(lapic, left << divide_shift(lapic));
}

uint64_t lapic_get_tsc_deadline(const struct lapic *lapic) {
    return timer_mode(lapic) == TIMER_TSC && lapic_hw_enabled(lapic) ? lapic->tsc_deadline : 0;
}

void lapic_set_tsc_deadline(struct lapic *lapic, uint64_t value) {
    // Outside TSC-deadline mode the MSR ignores writes.
    if (timer_mode(lapic) != TIMER_TSC || !lapic_hw_enabled(lapic))
        return;
    lapic->tsc_deadline = value;
    start_tsc(lapic);
}

void lapic_tsc_changed(struct lapic *lapic) {
    if (timer_mode(lapic) == TIMER_TSC)
        start_tsc(lapic);
}
