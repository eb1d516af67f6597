// SPDX-License-Identifier: BSD-2-Clause
// GSI routing tables and the MSI format.
#include "irq_routing.h"
#include <asm/errno.h>

#define PIC_ENTRY(irq)                                                                             \
    {                                                                                              \
        .gsi = (irq), .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {                              \
            .irqchip = (irq) < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,                 \
            .pin = (irq)&7                                                                         \
        }                                                                                          \
    }
#define IOAPIC_ENTRY(irq)                                                                          \
    {                                                                                              \
        .gsi = (irq), .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {                              \
            .irqchip = KVM_IRQCHIP_IOAPIC,                                                         \
            .pin = (irq)                                                                           \
        }                                                                                          \
    }
#define BOTH(irq)  IOAPIC_ENTRY(irq), PIC_ENTRY(irq)
#define FOUR(m, n) m(n), m(n + 1), m(n + 2), m(n + 3)

const struct kvm_irq_routing_entry irq_routing_default[IRQ_ROUTING_DEFAULT_COUNT] = {
    FOUR(BOTH, 0),  FOUR(BOTH, 4),          FOUR(BOTH, 8),
    FOUR(BOTH, 12), FOUR(IOAPIC_ENTRY, 16), FOUR(IOAPIC_ENTRY, 20),
};

static int check_entry(const struct kvm_irq_routing_entry *entry, bool irqchip,
                       bool x2apic_format) {
    static const uint8_t pins[3] = {8, 8, KVM_IOAPIC_NUM_PINS};

    if (entry->gsi >= IRQ_ROUTING_MAX)
        return -EINVAL;
    switch (entry->type) {
    case KVM_IRQ_ROUTING_IRQCHIP:
        if (!irqchip || entry->flags || entry->u.irqchip.irqchip >= 3 ||
            entry->u.irqchip.pin >= pins[entry->u.irqchip.irqchip])
            return -EINVAL;
        return 0;
    case KVM_IRQ_ROUTING_MSI:
        if (entry->flags & ~KVM_MSI_VALID_DEVID)
            return -EINVAL;
        if (x2apic_format && (entry->u.msi.address_hi & 0xff))
            return -EINVAL;
        return 0;
    default:
        return -EINVAL;
    }
}

// Two entries of one GSI may only be pins of different controllers.
static bool conflict(const struct kvm_irq_routing_entry *a, const struct kvm_irq_routing_entry *b) {
    return a->gsi == b->gsi && (a->type == KVM_IRQ_ROUTING_MSI || b->type == KVM_IRQ_ROUTING_MSI ||
                                a->u.irqchip.irqchip == b->u.irqchip.irqchip);
}

int irq_routing_check(const struct kvm_irq_routing_entry *entries, uint32_t count, bool irqchip,
                      bool x2apic_format) {
    // What each GSI has so far: a bit a controller, bit 3 an MSI. 4 KiB would not fit a kernel
    // stack beside the rest, so it is looked at in slices of GSIs.
    uint8_t seen[256];

    if (count > IRQ_ROUTING_MAX)
        return -EINVAL;
    for (uint32_t i = 0; i < count; i++)
        if (check_entry(&entries[i], irqchip, x2apic_format))
            return -EINVAL;
    if (count <= 16) { // the usual case is short
        for (uint32_t i = 1; i < count; i++)
            for (uint32_t j = 0; j < i; j++)
                if (conflict(&entries[i], &entries[j]))
                    return -EINVAL;
        return 0;
    }
    for (uint32_t slice = 0; slice < IRQ_ROUTING_MAX; slice += sizeof seen) {
        __builtin_memset(seen, 0, sizeof seen);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t gsi = entries[i].gsi - slice;
            if (gsi >= sizeof seen)
                continue;
            uint8_t bit = entries[i].type == KVM_IRQ_ROUTING_MSI
                              ? 8
                              : (uint8_t)(1u << entries[i].u.irqchip.irqchip);
            if ((seen[gsi] & (bit | 8)) || (bit == 8 && seen[gsi]))
                return -EINVAL;
            seen[gsi] |= bit;
        }
    }
    return 0;
}

static uint32_t gsi_count(const struct kvm_irq_routing_entry *entries, uint32_t count) {
    uint32_t highest = 0;

    for (uint32_t i = 0; i < count; i++)
        if (entries[i].gsi + 1 > highest)
            highest = entries[i].gsi + 1;
    return highest;
}

static size_t entries_offset(uint32_t gsis) {
    size_t bytes = sizeof(struct irq_routing) + (gsis + 1) * sizeof(uint16_t);
    return (bytes + 7) & ~(size_t)7;
}

size_t irq_routing_size(const struct kvm_irq_routing_entry *entries, uint32_t count) {
    return entries_offset(gsi_count(entries, count)) + count * sizeof *entries;
}

struct irq_routing *irq_routing_build(void *block, const struct kvm_irq_routing_entry *entries,
                                      uint32_t count) {
    struct irq_routing *table = block;
    uint32_t gsis = gsi_count(entries, count);
    uint32_t sum = 0;

    *table = (struct irq_routing){
        .gsi_count = gsis,
        .first = (uint16_t *)(table + 1),
        .entries = (struct kvm_irq_routing_entry *)((uint8_t *)block + entries_offset(gsis)),
    };
    // Counting sort: first[g] becomes where GSI g's entries start; filling moves it to their end,
    // that is to the start of g + 1, and a shift by one place puts it right.
    __builtin_memset(table->first, 0, (gsis + 1) * sizeof *table->first);
    for (uint32_t i = 0; i < count; i++)
        table->first[entries[i].gsi]++;
    for (uint32_t gsi = 0; gsi <= gsis; gsi++) {
        uint32_t here = table->first[gsi];
        table->first[gsi] = (uint16_t)sum;
        sum += here;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct kvm_irq_routing_entry *entry = &entries[i];
        table->entries[table->first[entry->gsi]++] = *entry;
        if (entry->type == KVM_IRQ_ROUTING_IRQCHIP)
            table->chip_gsi[entry->u.irqchip.irqchip][entry->u.irqchip.pin] =
                (uint16_t)(entry->gsi + 1);
    }
    for (uint32_t gsi = gsis; gsi > 0; gsi--)
        table->first[gsi] = table->first[gsi - 1];
    table->first[0] = 0;
    return table;
}

uint32_t irq_routing_gsi(const struct irq_routing *table, uint32_t chip, uint32_t pin) {
    if (chip >= 3 || pin >= 24 || table->chip_gsi[chip][pin] == 0)
        return IRQ_ROUTING_NO_GSI;
    return table->chip_gsi[chip][pin] - 1u;
}

int msi_decode(uint32_t address_lo, uint32_t address_hi, uint32_t data, bool x2apic_format,
               struct lapic_message *message) {
    if (x2apic_format && (address_hi & 0xff))
        return -EINVAL;
    *message = (struct lapic_message){
        .destination = (address_lo >> 12) & 0xff,
        .vector = (uint8_t)data,
        .delivery_mode = (data >> 8) & 7,
        .logical = address_lo & (1u << 2),
        .level_triggered = data & (1u << 15),
        .level = true,
    };
    if (x2apic_format)
        message->destination |= address_hi & 0xffffff00;
    // Redirection hint with a physical fixed message keeps the one destination; in logical mode it
    // means lowest priority (SDM vol. 3 11.11.1).
    if ((address_lo & (1u << 3)) && message->logical &&
        message->delivery_mode == LAPIC_DELIVER_FIXED)
        message->delivery_mode = LAPIC_DELIVER_LOWEST;
    return 0;
}
