// SPDX-License-Identifier: BSD-2-Clause
// Where a GSI goes: interrupt controller pins and MSIs (KVM_SET_GSI_ROUTING), in one immutable
// block the owner allocates and publishes by pointer.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "lapic_message.h"

#define IRQ_ROUTING_MAX    4096 // entries, and GSIs are below it (KVM_CAP_IRQ_ROUTING)
#define IRQ_ROUTING_NO_GSI UINT32_MAX

struct irq_routing {
    uint32_t gsi_count;                    // highest GSI + 1
    uint16_t chip_gsi[3][24];              // (KVM_IRQCHIP_*, pin) -> GSI + 1; 0: none
    uint16_t *first;                       // [gsi_count + 1] -> index in entries; inside the block
    struct kvm_irq_routing_entry *entries; // sorted by GSI; inside the block
};

// Checks entries as KVM does: flags, type, chip, pin range, no two IRQCHIP entries of one GSI on
// the same chip, MSI not shared with other entries of the GSI. 0 or -EINVAL. irqchip: is there an
// in-kernel controller (IRQCHIP entries allowed). x2apic_format: KVM_X2APIC_API_USE_32BIT_IDS.
int irq_routing_check(const struct kvm_irq_routing_entry *entries, uint32_t count, bool irqchip,
                      bool x2apic_format);
// Bytes the block for these entries takes.
size_t irq_routing_size(const struct kvm_irq_routing_entry *entries, uint32_t count);
// Builds in block (irq_routing_size bytes, 8-byte aligned) from checked entries.
struct irq_routing *irq_routing_build(void *block, const struct kvm_irq_routing_entry *entries,
                                      uint32_t count);
// The routing after KVM_CREATE_IRQCHIP: GSI 0-15 on PIC and I/O APIC, 16-23 on the I/O APIC.
#define IRQ_ROUTING_DEFAULT_COUNT 40
extern const struct kvm_irq_routing_entry irq_routing_default[IRQ_ROUTING_DEFAULT_COUNT];

// Entries of gsi, their number in *count (0 if none).
static inline const struct kvm_irq_routing_entry *
irq_routing_lookup(const struct irq_routing *table, uint32_t gsi, uint32_t *count) {
    if (gsi >= table->gsi_count) {
        *count = 0;
        return NULL;
    }
    *count = (uint32_t)table->first[gsi + 1] - table->first[gsi];
    return &table->entries[table->first[gsi]];
}
// GSI of a controller's pin, IRQ_ROUTING_NO_GSI if none.
uint32_t irq_routing_gsi(const struct irq_routing *table, uint32_t chip, uint32_t pin);
// Decodes an MSI (SDM vol. 3 11.11). x2apic_format: bits 31:8 of the destination are address_hi's.
// 0, or -EINVAL (address_hi's low byte set in x2apic_format).
int msi_decode(uint32_t address_lo, uint32_t address_hi, uint32_t data, bool x2apic_format,
               struct lapic_message *message);
