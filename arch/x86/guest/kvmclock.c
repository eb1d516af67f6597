// SPDX-License-Identifier: BSD-2-Clause
// Fills the paravirtual clock pages.
#include "kvmclock.h"

#define NS_PER_SECOND 1000000000u

struct kvmclock_scale kvmclock_scale(uint64_t tsc_khz) {
    struct kvmclock_scale scale = {0, 0};
    uint64_t hz = tsc_khz * 1000, scaled = hz, quotient, rest;

    if (hz == 0)
        return scale;
    // Bring the frequency into (1e9, 2e9], where 2^32 * 1e9 / scaled keeps 31 bits and fits 32.
    for (; scaled > 2ull * NS_PER_SECOND; scaled >>= 1)
        scale.shift--;
    for (; scaled <= NS_PER_SECOND; scaled <<= 1)
        scale.shift++;
    if (scale.shift >= 0) {
        scale.mul = (uint32_t)(((uint64_t)NS_PER_SECOND << 32) / scaled);
        return scale;
    }
    // From the exact frequency, since the shifts dropped its low bits; divided in two steps as the
    // dividend has more than 64 bits.
    quotient = ((uint64_t)NS_PER_SECOND << 32) / hz;
    rest = ((uint64_t)NS_PER_SECOND << 32) % hz;
    scale.mul = (uint32_t)((quotient << -scale.shift) + (rest << -scale.shift) / hz);
    return scale;
}

static void begin_update(uint32_t *version) {
    __atomic_store_n(version, (__atomic_load_n(version, __ATOMIC_RELAXED) + 1) | 1,
                     __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE); // odd before the contents
}

static void end_update(uint32_t *version) {
    __atomic_store_n(version, __atomic_load_n(version, __ATOMIC_RELAXED) + 1, __ATOMIC_RELEASE);
}

void kvmclock_fill(struct pvclock_vcpu_time_info *page, struct kvmclock_scale scale, uint64_t tsc,
                   uint64_t system_ns, uint8_t flags) {
    begin_update(&page->version);
    page->tsc_timestamp = tsc;
    page->system_time = system_ns;
    page->tsc_to_system_mul = scale.mul;
    page->tsc_shift = scale.shift;
    page->flags = flags;
    end_update(&page->version);
}

void kvmclock_fill_wall(struct pvclock_wall_clock *page, uint64_t wall_ns) {
    begin_update(&page->version);
    page->sec = (uint32_t)(wall_ns / NS_PER_SECOND);
    page->nsec = (uint32_t)(wall_ns % NS_PER_SECOND);
    end_update(&page->version);
}
