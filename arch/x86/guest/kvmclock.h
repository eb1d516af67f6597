// SPDX-License-Identifier: BSD-2-Clause
// The paravirtual clock pages (Documentation/virt/kvm/x86/msr.rst: MSR_KVM_SYSTEM_TIME_NEW,
// MSR_KVM_WALL_CLOCK_NEW).
#pragma once
#include <stdbool.h>
#include <stdint.h>

// Layouts from the same document.
struct pvclock_vcpu_time_info {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp;
    uint64_t system_time;
    uint32_t tsc_to_system_mul;
    int8_t tsc_shift;
    uint8_t flags;
    uint8_t pad[2];
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct pvclock_vcpu_time_info) == 32, "guest ABI");

struct pvclock_wall_clock {
    uint32_t version;
    uint32_t sec;
    uint32_t nsec;
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct pvclock_wall_clock) == 12, "guest ABI");

#define PVCLOCK_TSC_STABLE    0x01
#define PVCLOCK_GUEST_STOPPED 0x02

// ns = ((ticks << shift) * mul) >> 32 (a negative shift shifts right).
struct kvmclock_scale {
    uint32_t mul;
    int8_t shift;
};
struct kvmclock_scale kvmclock_scale(uint64_t tsc_khz);

// Fills the guest's page through its host mapping: guest TSC tsc corresponds to guest ns system_ns.
// Version is odd while written. flags: PVCLOCK_*.
void kvmclock_fill(struct pvclock_vcpu_time_info *page, struct kvmclock_scale scale, uint64_t tsc,
                   uint64_t system_ns, uint8_t flags);
// wall_ns: Unix time in ns at which the guest's system time was 0.
void kvmclock_fill_wall(struct pvclock_wall_clock *page, uint64_t wall_ns);
