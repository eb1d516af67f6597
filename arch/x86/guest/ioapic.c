// SPDX-License-Identifier: BSD-2-Clause
// The guest's I/O APIC.
#include "ioapic.h"

#define REDIRECTION_MODE_SHIFT 8
#define REDIRECTION_LOGICAL    (1ull << 11)
#define REDIRECTION_SENDING    (1ull << 12)
#define REDIRECTION_REMOTE_IRR (1ull << 14)
#define REDIRECTION_LEVEL      (1ull << 15)
#define REDIRECTION_MASKED     (1ull << 16)
#define REDIRECTION_WRITABLE   0xff0000000001afffull
#define REDIRECTION_READ_ONLY  (REDIRECTION_SENDING | REDIRECTION_REMOTE_IRR)

#define IOREGSEL 0x00
#define IOWIN    0x10

enum { INDEX_ID = 0, INDEX_VERSION = 1, INDEX_ARBITRATION = 2, INDEX_REDIRECTION = 0x10 };

// Version 0x11 has no EOI register: EOI comes as the local APICs' broadcast.
#define VERSION (0x11u | (IOAPIC_PINS - 1) << 16)

// The message a redirection entry stands for.
static struct lapic_message ioapic_message(uint64_t redirection) {
    return (struct lapic_message){
        .destination = (uint32_t)(redirection >> 56),
        .vector = (uint8_t)redirection,
        .delivery_mode = (redirection >> REDIRECTION_MODE_SHIFT) & 7,
        .logical = redirection & REDIRECTION_LOGICAL,
        .level = true,
        .level_triggered = redirection & REDIRECTION_LEVEL,
    };
}

static bool is_level(const struct ioapic *ioapic, unsigned pin) {
    return ioapic->redirection[pin] & REDIRECTION_LEVEL;
}

// The line is high: send if the entry lets it.
static int service(struct ioapic *ioapic, unsigned pin) {
    uint64_t entry = ioapic->redirection[pin];
    struct lapic_message message = ioapic_message(entry);
    int result;

    if (entry & REDIRECTION_MASKED)
        return -1;
    if (is_level(ioapic, pin)) {
        if (entry & REDIRECTION_REMOTE_IRR)
            return 0;
        // Before delivery: the EOI may come from another CPU as soon as it is delivered, and it
        // waits for the owner's lock.
        ioapic->redirection[pin] |= REDIRECTION_REMOTE_IRR;
    }
    result = ioapic->ops->deliver(ioapic, pin, &message);
    if (is_level(ioapic, pin)) {
        if (result < 0)
            ioapic->redirection[pin] &= ~REDIRECTION_REMOTE_IRR; // nobody will EOI
    } else {
        ioapic->edge_delivered |= 1u << pin;
    }
    return result;
}

int ioapic_set_line(struct ioapic *ioapic, unsigned pin, enum irq_source source, bool level) {
    uint32_t bit;

    if (pin >= IOAPIC_PINS)
        return -1;
    bit = 1u << pin;
    if (level)
        ioapic->line_sources[pin] |= (uint8_t)(1u << source);
    else
        ioapic->line_sources[pin] &= (uint8_t) ~(1u << source);
    if (ioapic->line_sources[pin] == 0) {
        ioapic->irr &= ~bit;
        ioapic->edge_delivered &= ~bit;
        return 1;
    }
    if (!is_level(ioapic, pin) && (ioapic->irr & bit))
        return 0; // no new edge
    ioapic->irr |= bit;
    return service(ioapic, pin);
}

void ioapic_eoi(struct ioapic *ioapic, uint8_t vector) {
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint64_t entry = ioapic->redirection[pin];
        uint32_t bit = 1u << pin;
        bool level = entry & REDIRECTION_LEVEL;

        if ((uint8_t)entry != vector || !(level || (ioapic->watched_pins & bit)))
            continue;
        if (level && !(entry & REDIRECTION_REMOTE_IRR))
            continue;
        ioapic->redirection[pin] &= ~REDIRECTION_REMOTE_IRR;
        // May lower the line: resampling irqfds do.
        if (ioapic->ops->acknowledged)
            ioapic->ops->acknowledged(ioapic, pin);
        if (level && (ioapic->irr & bit))
            service(ioapic, pin);
    }
}

static void recompute_watch(struct ioapic *ioapic) {
    uint32_t watch[8] = {0};

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        uint8_t vector = (uint8_t)ioapic->redirection[pin];
        if ((ioapic->watched_pins & (1u << pin)) && !is_level(ioapic, pin) &&
            !(ioapic->redirection[pin] & REDIRECTION_MASKED))
            watch[vector >> 5] |= 1u << (vector & 31);
    }
    for (unsigned i = 0; i < 8; i++)
        __atomic_store_n(&ioapic->eoi_watch[i], watch[i], __ATOMIC_RELAXED);
}

void ioapic_watch(struct ioapic *ioapic, uint32_t pins) {
    ioapic->watched_pins = pins;
    recompute_watch(ioapic);
}

static void write_redirection(struct ioapic *ioapic, unsigned pin, uint64_t value) {
    uint64_t old = ioapic->redirection[pin];
    uint64_t kept = old & REDIRECTION_READ_ONLY;

    value &= REDIRECTION_WRITABLE;
    // Switching to edge clears remote IRR: the way to EOI an I/O APIC without an EOI register.
    if (!(value & REDIRECTION_LEVEL))
        kept &= ~REDIRECTION_REMOTE_IRR;
    ioapic->redirection[pin] = value | kept;
    recompute_watch(ioapic);
    if ((value & REDIRECTION_LEVEL) && (ioapic->irr & (1u << pin)))
        service(ioapic, pin);
}

static uint32_t read_window(const struct ioapic *ioapic) {
    uint32_t index = ioapic->ioregsel, entry = (index - INDEX_REDIRECTION) / 2;

    switch (index) {
    case INDEX_ID:
    case INDEX_ARBITRATION:
        return (ioapic->id & 15) << 24;
    case INDEX_VERSION:
        return VERSION;
    }
    if (index < INDEX_REDIRECTION || entry >= IOAPIC_PINS)
        return 0xffffffff;
    return (uint32_t)(ioapic->redirection[entry] >> (index & 1 ? 32 : 0));
}

static void write_window(struct ioapic *ioapic, uint32_t value) {
    uint32_t index = ioapic->ioregsel, entry = (index - INDEX_REDIRECTION) / 2;
    uint64_t old;

    if (index == INDEX_ID) {
        ioapic->id = (value >> 24) & 15;
        return;
    }
    if (index < INDEX_REDIRECTION || entry >= IOAPIC_PINS)
        return;
    old = ioapic->redirection[entry];
    if (index & 1)
        write_redirection(ioapic, entry, (uint32_t)old | (uint64_t)value << 32);
    else
        write_redirection(ioapic, entry, (old & ~0xffffffffull) | value);
}

void ioapic_read(struct ioapic *ioapic, uint32_t offset, uint32_t len, void *data) {
    uint32_t place = offset & ~0xfu;
    uint32_t value = place == IOREGSEL ? ioapic->ioregsel
                     : place == IOWIN  ? read_window(ioapic)
                                       : 0;
    __builtin_memset(data, 0, len);
    __builtin_memcpy(data, &value, len < sizeof value ? len : sizeof value);
}

void ioapic_write(struct ioapic *ioapic, uint32_t offset, uint32_t len, const void *data) {
    uint32_t value = 0;

    __builtin_memcpy(&value, data, len < sizeof value ? len : sizeof value);
    if ((offset & ~0xfu) == IOREGSEL)
        ioapic->ioregsel = value & 0xff;
    else if ((offset & ~0xfu) == IOWIN)
        write_window(ioapic, value);
}

static void ioapic_reset(struct ioapic *ioapic) {
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        ioapic->redirection[pin] = REDIRECTION_MASKED;
        ioapic->line_sources[pin] = 0;
    }
    ioapic->base = IOAPIC_DEFAULT_BASE;
    ioapic->ioregsel = 0;
    ioapic->id = 0;
    ioapic->irr = 0;
    ioapic->edge_delivered = 0;
    recompute_watch(ioapic);
}

void ioapic_init(struct ioapic *ioapic, const struct ioapic_ops *ops) {
    *ioapic = (struct ioapic){.ops = ops};
    ioapic_reset(ioapic);
}

void ioapic_get_state(const struct ioapic *ioapic, struct kvm_ioapic_state *state) {
    *state = (struct kvm_ioapic_state){
        .base_address = ioapic->base,
        .ioregsel = ioapic->ioregsel,
        .id = ioapic->id,
        .irr = ioapic->irr & ~ioapic->edge_delivered,
    };
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        state->redirtbl[pin].bits = ioapic->redirection[pin];
}

void ioapic_set_state(struct ioapic *ioapic, const struct kvm_ioapic_state *state) {
    ioapic->base = state->base_address;
    ioapic->ioregsel = state->ioregsel & 0xff;
    ioapic->id = state->id & 15;
    ioapic->irr = state->irr & ((1u << IOAPIC_PINS) - 1);
    ioapic->edge_delivered = 0;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->redirection[pin] =
            state->redirtbl[pin].bits & (REDIRECTION_WRITABLE | REDIRECTION_READ_ONLY);
    recompute_watch(ioapic);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        if (ioapic->irr & (1u << pin))
            service(ioapic, pin);
}
