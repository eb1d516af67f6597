// SPDX-License-Identifier: BSD-2-Clause
// Between what IOMMUs have in common (iommu.c) and what VT-d and AMD-Vi have each to itself.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/iommu/dma_table.h"
#include "arch/x86/iommu/iommu.h"
#include "arch/x86/mm/page_format.h"

enum { IOMMU_VECTORS = 256, IOMMU_PATIENCE = 10000000 };

struct iommu_domain {
    uint64_t root;
    uint16_t id;    // not 0
    bool reserved;  // firmware's
    uint32_t units; // bit for each that may know something of it
};

struct iommu_unit {
    volatile char *registers;
    const struct dma_unit *firmware;
    bool on;
    uint64_t capabilities, extended;
    uint64_t *table;        // VT-d: root table; AMD-Vi: device table
    uint64_t *queue;        // a page of 16-byte commands
    uint64_t *events;       // AMD-Vi: a page of 16-byte events
    volatile uint64_t done; // what the unit writes when it has executed a wait
    uint64_t waits;
    uint32_t tail, head; // of queue and events, in bytes
    uint32_t last;       // AMD-Vi: highest requester ID of the device table
};

struct iommu_route { // what a vector of a device does
    bool valid, level;
    uint8_t vector;
    uint32_t apic_id;
};

// What all units can do.
extern struct iommu_abilities {
    struct page_format format; // of the domains' tables
    unsigned domains;
    uint64_t aperture;
    bool remaps, wide;  // interrupts; to APIC IDs of 32 bits
    bool caches_absent; // a unit may remember that nothing is mapped
} iommu_can;

struct iommu_back_end {
    const char *name;
    // Reads what the unit can do and narrows iommu_can to it. False: it is of no use.
    bool (*probe)(struct iommu_unit *unit);
    // Its tables, with every device blocked. False: no memory.
    bool (*prepare)(struct iommu_unit *unit, const struct dma_table *table, unsigned index);
    void (*enable)(struct iommu_unit *unit);
    // What a device needs before set_device. 0 or -ENOMEM.
    int (*prepare_device)(struct iommu_unit *unit, struct iommu_device *device);
    // From now on the device reaches the domain; NULL: nothing, and raises no interrupt, and if it
    // has been stopped no fault is reported any more.
    void (*set_device)(struct iommu_unit *unit, const struct iommu_device *device,
                       const struct iommu_domain *domain);
    void (*flush)(struct iommu_unit *unit, const struct iommu_domain *domain);
    void (*set_route)(struct iommu_unit *unit, const struct iommu_device *device,
                      struct iommu_route route);
    void (*message)(uint8_t vector, struct iommu_message *message);
    uint64_t (*line_entry)(uint64_t entry);  // of an I/O APIC, for its own vector
    void (*faults)(struct iommu_unit *unit); // reports what the unit has recorded
};

extern const struct iommu_back_end vtd, amd_vi;

static inline uint32_t unit_read(const struct iommu_unit *unit, unsigned offset) {
    return *(volatile uint32_t *)(unit->registers + offset);
}

static inline void unit_write(struct iommu_unit *unit, unsigned offset, uint32_t value) {
    *(volatile uint32_t *)(unit->registers + offset) = value;
}

static inline uint64_t unit_read64(const struct iommu_unit *unit, unsigned offset) {
    return *(volatile uint64_t *)(unit->registers + offset);
}

static inline void unit_write64(struct iommu_unit *unit, unsigned offset, uint64_t value) {
    *(volatile uint64_t *)(unit->registers + offset) = value;
}

// A page of zeros for a unit; NULL: no memory.
void *iommu_page(unsigned order);
// Puts a 16-byte command into the unit's queue. Its tail register is still to be written.
void iommu_command(struct iommu_unit *unit, uint64_t low, uint64_t high);
// Until the unit has executed a command that writes ++unit->waits to unit->done.
void iommu_await(struct iommu_unit *unit);
// What the unit interrupts this CPU with: IRQ_VECTOR_IOMMU.
struct iommu_message iommu_own_message(void);
// A device was kept from doing `what` at an address: logs it and quiesces it. No lock held.
void iommu_fault(uint16_t segment, uint16_t id, const char *what, uint64_t address);
