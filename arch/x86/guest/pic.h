// SPDX-License-Identifier: BSD-2-Clause
// The guest's pair of 8259A interrupt controllers with ELCR (Intel 8259A datasheet; ELCR: 82093/
// PIIX3). Ports 0x20/21, 0xa0/a1, 0x4d0/4d1. The owner's irqchip lock is held around every call.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "irq_source.h"

struct pic;

struct pic_ops {
    // INTR changed: kick the vCPU(s) whose LINT0 takes ExtINT (lapic_accepts_pic).
    void (*output_changed)(struct pic *pic, bool level);
    // Optional. irq 0..15 was EOIed (or auto-EOIed).
    void (*acknowledged)(struct pic *pic, unsigned irq);
};

struct pic {
    struct kvm_pic_state chips[2]; // 0 master, 1 slave
    uint8_t line_sources[16];
    bool output; // INTR; may be read without the lock as a hint
    const struct pic_ops *ops;
};

void pic_init(struct pic *pic, const struct pic_ops *ops);
// Result as KVM_IRQ_LINE_STATUS: < 0 masked, 0 coalesced, > 0 delivered.
int pic_set_line(struct pic *pic, unsigned irq, enum irq_source source, bool level);
// INTA cycle: the vector to inject (spurious IRQ 7 or 15 if the request went away).
uint8_t pic_acknowledge(struct pic *pic);
static inline bool pic_owns(uint16_t port) {
    return (port & ~1u) == 0x20 || (port & ~1u) == 0xa0 || (port & ~1u) == 0x4d0;
}
uint8_t pic_read(struct pic *pic, uint16_t port);
void pic_write(struct pic *pic, uint16_t port, uint8_t value);
// chip: 0 master, 1 slave (KVM_IRQCHIP_PIC_*).
void pic_get_state(const struct pic *pic, unsigned chip, struct kvm_pic_state *state);
void pic_set_state(struct pic *pic, unsigned chip, const struct kvm_pic_state *state);
