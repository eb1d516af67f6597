// SPDX-License-Identifier: BSD-2-Clause
// The guest's 8254 timer and the speaker port (Intel 8254 datasheet). Ports 0x40..0x43, 0x61.
// The owner's irqchip lock is held around every call; it arms one host timer for channel 0.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

#define PIT_FREQUENCY 1193182u
#define PIT_NEVER     UINT64_MAX

struct pit;

struct pit_ops {
    uint64_t (*now_ns)(struct pit *pit); // host monotonic time
    // Channel 0's line to GSI 0 (IRQ_SOURCE_PIT): an edge is true then false. Returns as
    // KVM_IRQ_LINE_STATUS (the highest of the controllers' results): < 0 masked everywhere.
    int (*set_irq)(struct pit *pit, bool level);
    // deadline_ns changed: arm or cancel the host timer.
    void (*timer_changed)(struct pit *pit);
};

struct pit {
    struct kvm_pit_channel_state channels[3]; // count_load_time: host ns
    uint32_t flags;                           // KVM_PIT_FLAGS_*
    bool speaker_data_on;
    bool speaker_dummy;   // KVM_PIT_SPEAKER_DUMMY: port 0x61 is ours
    bool reinject;        // ticks missed are delivered later, one an acknowledge
    bool irq_outstanding; // sent and not yet acknowledged (reinject mode)
    uint32_t pending_ticks;
    uint64_t deadline_ns; // next channel 0 edge, PIT_NEVER if none
    uint64_t period_ns;   // 0: one-shot
    const struct pit_ops *ops;
};

// flags: struct kvm_pit_config's.
void pit_init(struct pit *pit, uint32_t flags, const struct pit_ops *ops);
static inline bool pit_owns(const struct pit *pit, uint16_t port) {
    return (port & ~3u) == 0x40 || (port == 0x61 && pit->speaker_dummy);
}
uint8_t pit_read(struct pit *pit, uint16_t port);
void pit_write(struct pit *pit, uint16_t port, uint8_t value);
// Host timer fired: raises IRQ 0 and computes the next deadline. Early calls do nothing.
void pit_expired(struct pit *pit);
// IRQ 0 was acknowledged (pic_ops/ioapic_ops.acknowledged for the PIT's pin): reinjects.
void pit_irq_acknowledged(struct pit *pit);
void pit_set_reinject(struct pit *pit, bool reinject); // KVM_REINJECT_CONTROL
void pit_get_state(const struct pit *pit, struct kvm_pit_state2 *state);
void pit_set_state(struct pit *pit,
                   const struct kvm_pit_state2 *state); // also KVM_SET_PIT (flags 0)
