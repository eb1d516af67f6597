// SPDX-License-Identifier: BSD-2-Clause
// The guest's 8254: counters are never stepped, their state follows from the time of loading.
#include "pit.h"
#include "timer_limit.h"

#define NS_PER_SECOND 1000000000ull

enum access_state { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_WORD_LOW, ACCESS_WORD_HIGH };

// Ticks the VMM cannot want back once this many have gone unacknowledged: the acknowledgement is
// lost (the guest moved from PIC to I/O APIC with one in flight), so interrupt again.
#define REINJECT_STALLED 8
#define REINJECT_MAXIMUM 0xffff

static uint64_t ticks_to_ns(uint64_t ticks) {
    return ticks / PIT_FREQUENCY * NS_PER_SECOND +
           (ticks % PIT_FREQUENCY * NS_PER_SECOND + PIT_FREQUENCY - 1) / PIT_FREQUENCY;
}

static uint64_t ns_to_ticks(uint64_t ns) {
    return ns / NS_PER_SECOND * PIT_FREQUENCY + ns % NS_PER_SECOND * PIT_FREQUENCY / NS_PER_SECOND;
}

static uint64_t elapsed_ticks(struct pit *pit, const struct kvm_pit_channel_state *channel) {
    return ns_to_ticks(pit->ops->now_ns(pit) - (uint64_t)channel->count_load_time);
}

static bool gate_stops(const struct kvm_pit_channel_state *channel) {
    return !channel->gate && channel->mode != 1 && channel->mode != 5;
}

static uint16_t current_count(struct pit *pit, const struct kvm_pit_channel_state *channel) {
    uint64_t elapsed;

    if (channel->count == 0 || gate_stops(channel))
        return (uint16_t)channel->count;
    elapsed = elapsed_ticks(pit, channel);
    switch (channel->mode) {
    case 2:
        return (uint16_t)(channel->count - elapsed % channel->count);
    case 3: // counts down by two
        return (uint16_t)(channel->count - 2 * elapsed % channel->count);
    default:
        return (uint16_t)(channel->count - elapsed);
    }
}

// Level of OUT (datasheet, figures 15 to 20).
static bool output_level(struct pit *pit, const struct kvm_pit_channel_state *channel) {
    uint64_t elapsed = elapsed_ticks(pit, channel);

    if (channel->count == 0)
        return channel->mode != 0;
    switch (channel->mode) {
    case 0:
    case 1:
        return elapsed >= channel->count;
    case 2: // low in the last tick of each period
        return gate_stops(channel) || elapsed % channel->count != channel->count - 1;
    case 3:
        return gate_stops(channel) || elapsed % channel->count < (channel->count + 1) / 2;
    default: // 4, 5: one tick low at terminal count
        return elapsed != channel->count;
    }
}

// -- channel 0's interrupt --

static void set_deadline(struct pit *pit, uint64_t deadline) {
    if (pit->deadline_ns == deadline)
        return;
    pit->deadline_ns = deadline;
    pit->ops->timer_changed(pit);
}

static void start_timer(struct pit *pit) {
    const struct kvm_pit_channel_state *channel = &pit->channels[0];
    bool periodic = channel->mode == 2 || channel->mode == 3;

    pit->pending_ticks = 0;
    pit->irq_outstanding = false;
    if (channel->count == 0 || (pit->flags & KVM_PIT_FLAGS_HPET_LEGACY)) {
        pit->period_ns = 0;
        set_deadline(pit, PIT_NEVER);
        return;
    }
    uint64_t ns = ticks_to_ns(channel->count);
    uint64_t period = ns < GUEST_TIMER_MINIMUM_PERIOD ? GUEST_TIMER_MINIMUM_PERIOD : ns;
    pit->period_ns = periodic ? period : 0;
    set_deadline(pit, (uint64_t)channel->count_load_time + ns);
}

static void pulse(struct pit *pit) {
    int result = pit->ops->set_irq(pit, true);

    pit->ops->set_irq(pit, false);
    if (!pit->reinject)
        return;
    if (result < 0) { // masked: nobody will acknowledge and nobody misses these ticks
        pit->pending_ticks = 0;
        pit->irq_outstanding = false;
        return;
    }
    pit->irq_outstanding = true;
}

void pit_expired(struct pit *pit) {
    uint64_t now, ticks = 1;

    if (pit->deadline_ns == PIT_NEVER)
        return;
    now = pit->ops->now_ns(pit);
    if (now < pit->deadline_ns)
        return;
    if (pit->period_ns) {
        ticks += (now - pit->deadline_ns) / pit->period_ns;
        set_deadline(pit, pit->deadline_ns + ticks * pit->period_ns);
    } else {
        set_deadline(pit, PIT_NEVER);
    }
    if (!pit->reinject) {
        pulse(pit);
        return;
    }
    ticks += pit->pending_ticks;
    pit->pending_ticks = ticks > REINJECT_MAXIMUM ? REINJECT_MAXIMUM : (uint32_t)ticks;
    if (pit->irq_outstanding && pit->pending_ticks < REINJECT_STALLED)
        return;
    pit->pending_ticks--;
    pulse(pit);
}

void pit_irq_acknowledged(struct pit *pit) {
    if (!pit->reinject || !pit->irq_outstanding)
        return;
    pit->irq_outstanding = false;
    if (pit->pending_ticks == 0)
        return;
    pit->pending_ticks--;
    pulse(pit);
}

void pit_set_reinject(struct pit *pit, bool reinject) {
    pit->reinject = reinject;
    pit->pending_ticks = 0;
    pit->irq_outstanding = false;
}

// -- ports --

static void load_count(struct pit *pit, unsigned index, uint32_t value) {
    struct kvm_pit_channel_state *channel = &pit->channels[index];

    channel->count = value ? value : 0x10000;
    channel->count_load_time = (int64_t)pit->ops->now_ns(pit);
    if (index == 0)
        start_timer(pit);
}

static void latch_count(struct pit *pit, struct kvm_pit_channel_state *channel) {
    if (channel->count_latched)
        return;
    channel->latched_count = current_count(pit, channel);
    channel->count_latched = channel->rw_mode;
}

static void latch_status(struct pit *pit, struct kvm_pit_channel_state *channel) {
    if (channel->status_latched)
        return;
    channel->status = (uint8_t)(output_level(pit, channel) << 7 | channel->rw_mode << 4 |
                                channel->mode << 1 | channel->bcd);
    channel->status_latched = 1;
}

static void write_control(struct pit *pit, uint8_t value) {
    unsigned index = value >> 6, access = (value >> 4) & 3;

    if (index == 3) { // read-back command
        for (unsigned i = 0; i < 3; i++) {
            if (!(value & (2u << i)))
                continue;
            if (!(value & 0x20))
                latch_count(pit, &pit->channels[i]);
            if (!(value & 0x10))
                latch_status(pit, &pit->channels[i]);
        }
        return;
    }
    struct kvm_pit_channel_state *channel = &pit->channels[index];
    if (access == ACCESS_LATCH) {
        latch_count(pit, channel);
        return;
    }
    channel->rw_mode = (uint8_t)access;
    channel->read_state = (uint8_t)access;
    channel->write_state = (uint8_t)access;
    channel->mode = (value >> 1) & 7;
    if (channel->mode > 5)
        channel->mode &= 3; // 6 and 7 are 2 and 3
    channel->bcd = value & 1;
    channel->count_latched = 0;
    channel->status_latched = 0;
}

static void write_counter(struct pit *pit, unsigned index, uint8_t value) {
    struct kvm_pit_channel_state *channel = &pit->channels[index];

    switch (channel->write_state) {
    default:
    case ACCESS_LOW:
        load_count(pit, index, value);
        break;
    case ACCESS_HIGH:
        load_count(pit, index, (uint32_t)value << 8);
        break;
    case ACCESS_WORD_LOW:
        channel->write_latch = value;
        channel->write_state = ACCESS_WORD_HIGH;
        break;
    case ACCESS_WORD_HIGH:
        channel->write_state = ACCESS_WORD_LOW;
        load_count(pit, index, channel->write_latch | (uint32_t)value << 8);
        break;
    }
}

static uint8_t read_latched(struct kvm_pit_channel_state *channel) {
    switch (channel->count_latched) {
    default:
    case ACCESS_LOW:
        channel->count_latched = 0;
        return (uint8_t)channel->latched_count;
    case ACCESS_HIGH:
        channel->count_latched = 0;
        return (uint8_t)(channel->latched_count >> 8);
    case ACCESS_WORD_LOW:
        channel->count_latched = ACCESS_HIGH;
        return (uint8_t)channel->latched_count;
    }
}

static uint8_t read_counter(struct pit *pit, struct kvm_pit_channel_state *channel) {
    uint16_t count;

    if (channel->status_latched) {
        channel->status_latched = 0;
        return channel->status;
    }
    if (channel->count_latched)
        return read_latched(channel);
    count = current_count(pit, channel);
    switch (channel->read_state) {
    default:
    case ACCESS_LOW:
        return (uint8_t)count;
    case ACCESS_HIGH:
        return (uint8_t)(count >> 8);
    case ACCESS_WORD_LOW:
        channel->read_state = ACCESS_WORD_HIGH;
        return (uint8_t)count;
    case ACCESS_WORD_HIGH:
        channel->read_state = ACCESS_WORD_LOW;
        return (uint8_t)(count >> 8);
    }
}

static void set_gate(struct pit *pit, struct kvm_pit_channel_state *channel, bool gate) {
    // A rising edge restarts in modes 1, 2, 3 and 5; mode 0 and 4 go on from the count.
    if (gate && !channel->gate)
        channel->count_load_time = (int64_t)pit->ops->now_ns(pit);
    channel->gate = gate;
}

static uint8_t read_speaker(struct pit *pit) {
    // Bit 4 toggles with the memory refresh, about every 15 us.
    unsigned refresh = (pit->ops->now_ns(pit) >> 14) & 1;

    return (uint8_t)(pit->channels[2].gate | pit->speaker_data_on << 1 | refresh << 4 |
                     output_level(pit, &pit->channels[2]) << 5);
}

uint8_t pit_read(struct pit *pit, uint16_t port) {
    if (port == 0x61)
        return read_speaker(pit);
    return (port & 3) == 3 ? 0 : read_counter(pit, &pit->channels[port & 3]);
}

void pit_write(struct pit *pit, uint16_t port, uint8_t value) {
    if (port == 0x61) {
        pit->speaker_data_on = (value >> 1) & 1;
        set_gate(pit, &pit->channels[2], value & 1);
    } else if ((port & 3) == 3) {
        write_control(pit, value);
    } else {
        write_counter(pit, port & 3, value);
    }
}

void pit_init(struct pit *pit, uint32_t flags, const struct pit_ops *ops) {
    *pit = (struct pit){
        .speaker_dummy = flags & KVM_PIT_SPEAKER_DUMMY,
        .reinject = true,
        .deadline_ns = PIT_NEVER,
        .ops = ops,
    };
    // KVM's power-on state: mode 3, gate of channel 2 low, no count loaded.
    for (unsigned i = 0; i < 3; i++) {
        pit->channels[i].mode = 3;
        pit->channels[i].gate = i != 2;
        pit->channels[i].count_load_time = (int64_t)ops->now_ns(pit);
    }
}

void pit_get_state(const struct pit *pit, struct kvm_pit_state2 *state) {
    *state = (struct kvm_pit_state2){
        .flags = (pit->flags & KVM_PIT_FLAGS_HPET_LEGACY) |
                 (pit->speaker_data_on ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0),
    };
    for (unsigned i = 0; i < 3; i++)
        state->channels[i] = pit->channels[i];
}

void pit_set_state(struct pit *pit, const struct kvm_pit_state2 *state) {
    int64_t now = (int64_t)pit->ops->now_ns(pit);

    for (unsigned i = 0; i < 3; i++) {
        struct kvm_pit_channel_state *channel = &pit->channels[i];
        *channel = state->channels[i];
        channel->mode %= 6;
        channel->rw_mode &= 3;
        channel->gate &= 1;
        channel->bcd &= 1;
        if (channel->count > 0x10000)
            channel->count = 0x10000;
        // Load times are the saving host's; counting starts again, as in KVM.
        channel->count_load_time = now;
    }
    pit->flags = state->flags & KVM_PIT_FLAGS_HPET_LEGACY;
    pit->speaker_data_on = state->flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
    start_timer(pit);
}
