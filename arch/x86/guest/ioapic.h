// SPDX-License-Identifier: BSD-2-Clause
// The guest's I/O APIC: 24 pins (82093AA datasheet; remote IRR and EOI as SDM vol. 3 11.8.5).
// The owner's irqchip lock is held around every call; ops are called under it.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "irq_source.h"
#include "lapic_message.h"

#define IOAPIC_PINS         KVM_IOAPIC_NUM_PINS
#define IOAPIC_DEFAULT_BASE 0xfec00000ull

struct ioapic;

struct ioapic_ops {
    // Delivers to the VM's local APICs; lapic_route's result (-1 none, 0 coalesced, > 0).
    int (*deliver)(struct ioapic *ioapic, unsigned pin, const struct lapic_message *message);
    // Optional. A pin's interrupt was EOIed (resample irqfds, PIT reinjection).
    void (*acknowledged)(struct ioapic *ioapic, unsigned pin);
};

struct ioapic {
    uint64_t base;
    uint32_t ioregsel;
    uint32_t id;
    uint32_t irr;                      // pins whose line is high
    uint32_t edge_delivered;           // of these, edge pins whose interrupt has been sent
    uint64_t redirection[IOAPIC_PINS]; // as the guest reads it, status bits included
    uint8_t line_sources[IOAPIC_PINS]; // bit enum irq_source: who asserts
    uint32_t watched_pins; // pins whose edge interrupts report acknowledged too (the PIT's)
    uint32_t eoi_watch[8]; // their vectors; struct lapic's eoi_watch points here
    const struct ioapic_ops *ops;
};

void ioapic_init(struct ioapic *ioapic, const struct ioapic_ops *ops);
// Asks for acknowledged on edge pins too: mask bit n is pin n.
void ioapic_watch(struct ioapic *ioapic, uint32_t pins);
// Result as KVM_IRQ_LINE_STATUS: < 0 masked or no destination, 0 coalesced, > 0 delivered.
int ioapic_set_line(struct ioapic *ioapic, unsigned pin, enum irq_source source, bool level);
// A local APIC EOIed level vector: clears remote IRR, delivers again where the line is still high.
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);
static inline bool ioapic_owns(const struct ioapic *ioapic, uint64_t gpa) {
    return gpa - ioapic->base < 0x100;
}
// offset from base; len 1..8.
void ioapic_read(struct ioapic *ioapic, uint32_t offset, uint32_t len, void *data);
void ioapic_write(struct ioapic *ioapic, uint32_t offset, uint32_t len, const void *data);
void ioapic_get_state(const struct ioapic *ioapic, struct kvm_ioapic_state *state);
void ioapic_set_state(struct ioapic *ioapic, const struct kvm_ioapic_state *state);
