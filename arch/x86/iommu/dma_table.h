// SPDX-License-Identifier: BSD-2-Clause
// What firmware says of IOMMUs: the DMAR (VT-d 4.1 chapter 8) or the IVRS (AMD I/O Virtualization
// 3.05 chapter 5), read into one form. Pure: every length is checked.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DMA_TABLE_UNITS = 16, DMA_TABLE_SCOPES = 128 };

enum dma_scope_kind {
    DMA_SCOPE_DEVICES,  // a unit translates for them
    DMA_SCOPE_IO_APIC,  // it interrupts as `first`
    DMA_SCOPE_RESERVED, // they reach [base, end) whatever happens
};

struct dma_scope {
    uint8_t kind, unit; // unit: not of reserved memory
    uint8_t io_apic;    // its ID in the MADT
    uint16_t segment;
    uint16_t first, last; // requester IDs
    uint64_t base, end;
};

struct dma_unit {
    uint64_t registers;
    uint16_t segment;
    uint16_t id;   // AMD-Vi: the unit itself as a PCI function
    uint8_t flags; // AMD-Vi: of the IVHD
    bool all;      // VT-d: every device of the segment that no other unit names
};

struct dma_table {
    struct dma_unit unit[DMA_TABLE_UNITS];
    unsigned units;
    struct dma_scope scope[DMA_TABLE_SCOPES];
    unsigned scopes;
    bool amd, interrupts; // interrupts: the platform can remap them
};

// Reads the body of a DMAR or IVRS, header included. `pci` reads a byte of the configuration space
// of a function of segment 0 and follows bridges with it. False: neither, or it names no unit.
bool dma_table_read(struct dma_table *table, const void *data, size_t size,
                    uint8_t (*pci)(uint16_t id, unsigned offset));
// The unit that translates for a device; -1: none.
int dma_table_unit(const struct dma_table *table, uint16_t segment, uint16_t id);
