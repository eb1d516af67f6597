// SPDX-License-Identifier: BSD-2-Clause
// Reading of DMAR and IVRS.
#include "arch/x86/iommu/dma_table.h"
#if __STDC_HOSTED__
#include <string.h>
#else
#include "core/string.h"
#endif

enum {
    BLOCKS = 48, // in both, after the table's header
    BRIDGE_SECONDARY = 0x19,
    BRIDGE_SUBORDINATE = 0x1a,
    ANY_LAST = 0xffff,
};

struct reader {
    struct dma_table *table;
    const uint8_t *data;
    uint8_t (*pci)(uint16_t id, unsigned offset);
};

static uint64_t field(const uint8_t *at, size_t size) {
    uint64_t value = 0;
    memcpy(&value, at, size);
    return value;
}

// An IVRS says most things once for each revision of its format.
static void add_scope(struct dma_table *table, struct dma_scope scope) {
    for (unsigned i = 0; i < table->scopes; i++) {
        const struct dma_scope *other = &table->scope[i];
        if (other->kind == scope.kind && other->unit == scope.unit &&
            other->io_apic == scope.io_apic && other->segment == scope.segment &&
            other->first == scope.first && other->last == scope.last && other->base == scope.base)
            return;
    }
    if (table->scopes < DMA_TABLE_SCOPES)
        table->scope[table->scopes++] = scope;
}

// A unit may be described more than once (IVRS). -1: too many.
static int add_unit(struct dma_table *table, struct dma_unit unit) {
    for (unsigned i = 0; i < table->units; i++)
        if (table->unit[i].registers == unit.registers)
            return (int)i;
    if (table->units == DMA_TABLE_UNITS || !unit.registers)
        return -1;
    table->unit[table->units] = unit;
    return (int)table->units++;
}

enum { DMAR_UNIT = 0, DMAR_RESERVED = 1, UNIT_ALL = 1, TABLE_INTERRUPTS = 1 };
enum { SCOPE_ENDPOINT = 1, SCOPE_BRIDGE = 2, SCOPE_IO_APIC = 3, SCOPE_PATH = 6 };

// VT-d 8.3.1: a bus and a path of (device, function) over the bridges between.
static void read_dmar_scope(struct reader *reader, const uint8_t *at, size_t length,
                            struct dma_scope scope) {
    uint8_t bus = at[5];
    uint16_t id = 0;
    for (size_t i = SCOPE_PATH; i + 2 <= length; i += 2) {
        if (i > SCOPE_PATH)
            bus = reader->pci(id, BRIDGE_SECONDARY);
        id = (uint16_t)(bus << 8 | (at[i] & 31) << 3 | (at[i + 1] & 7));
    }
    scope.first = scope.last = id;
    if (at[0] == SCOPE_IO_APIC && scope.kind == DMA_SCOPE_DEVICES) {
        scope.kind = DMA_SCOPE_IO_APIC;
        scope.io_apic = at[4];
    } else if (at[0] == SCOPE_BRIDGE) {
        add_scope(reader->table, scope);
        scope.first = (uint16_t)(reader->pci(id, BRIDGE_SECONDARY) << 8);
        scope.last = (uint16_t)(reader->pci(id, BRIDGE_SUBORDINATE) << 8 | 0xff);
    } else if (at[0] != SCOPE_ENDPOINT) {
        return;
    }
    add_scope(reader->table, scope);
}

static void read_dmar_block(struct reader *reader, const uint8_t *at, size_t length) {
    struct dma_scope scope = {.kind = DMA_SCOPE_DEVICES};
    size_t header;
    if (field(at, 2) == DMAR_UNIT && length >= 16) {
        header = 16;
        scope.segment = (uint16_t)field(at + 6, 2);
        int unit = add_unit(reader->table, (struct dma_unit){.registers = field(at + 8, 8),
                                                             .segment = scope.segment,
                                                             .all = (at[4] & UNIT_ALL) != 0});
        if (unit < 0)
            return;
        scope.unit = (uint8_t)unit;
    } else if (field(at, 2) == DMAR_RESERVED && length >= 24) {
        header = 24;
        scope.kind = DMA_SCOPE_RESERVED;
        scope.segment = (uint16_t)field(at + 6, 2);
        scope.base = field(at + 8, 8);
        scope.end = field(at + 16, 8) + 1;
    } else {
        return;
    }
    for (size_t i = header;
         i + SCOPE_PATH + 2 <= length && at[i + 1] >= SCOPE_PATH + 2 && i + at[i + 1] <= length;
         i += at[i + 1])
        read_dmar_scope(reader, at + i, at[i + 1], scope);
}

enum {
    IVHD_10 = 0x10,
    IVHD_11 = 0x11,
    IVHD_40 = 0x40,
    IVMD_ALL = 0x20,
    IVMD_ONE = 0x21,
    IVMD_RANGE = 0x22,
    ENTRY_ALL = 1,
    ENTRY_ONE = 2,
    ENTRY_START = 3,
    ENTRY_END = 4,
    ENTRY_ALIAS = 66,
    ENTRY_ALIAS_START = 67,
    ENTRY_EXTENDED = 70,
    ENTRY_EXTENDED_START = 71,
    ENTRY_SPECIAL = 72,
    ENTRY_HID = 240,
    SPECIAL_IO_APIC = 1,
};

static size_t ivhd_entry_length(const uint8_t *at, size_t rest) {
    if (at[0] == ENTRY_HID)
        return rest < 22 ? rest + 1 : 22u + at[21];
    return 4u << (at[0] >> 6);
}

// AMD 5.2.2. A range is a pair of entries; *start is where the first of them began.
static void read_ivhd_entry(struct dma_table *table, const uint8_t *at, struct dma_scope scope,
                            uint16_t *start) {
    scope.first = scope.last = (uint16_t)field(at + 1, 2);
    switch (at[0]) {
    case ENTRY_ALL:
        scope.first = 0;
        scope.last = ANY_LAST;
        break;
    case ENTRY_START:
    case ENTRY_ALIAS_START:
    case ENTRY_EXTENDED_START:
        *start = scope.first;
        return;
    case ENTRY_END:
        scope.first = *start;
        break;
    case ENTRY_SPECIAL:
        scope.first = scope.last = (uint16_t)field(at + 5, 2);
        if (at[7] == SPECIAL_IO_APIC) {
            scope.kind = DMA_SCOPE_IO_APIC;
            scope.io_apic = at[4];
            table->interrupts = true;
        }
        break;
    case ENTRY_ONE:
    case ENTRY_ALIAS:
    case ENTRY_EXTENDED:
        break;
    default:
        return;
    }
    add_scope(table, scope);
}

static void read_ivhd(struct dma_table *table, const uint8_t *at, size_t length) {
    size_t i = at[0] == IVHD_10 ? 24 : 40;
    if (length < i)
        return;
    struct dma_scope scope = {.segment = (uint16_t)field(at + 16, 2)};
    int unit = add_unit(table, (struct dma_unit){.registers = field(at + 8, 8),
                                                 .segment = scope.segment,
                                                 .id = (uint16_t)field(at + 4, 2),
                                                 .flags = at[1]});
    if (unit < 0)
        return;
    scope.unit = (uint8_t)unit;
    uint16_t start = 0;
    while (i + 4 <= length) {
        size_t entry = ivhd_entry_length(at + i, length - i);
        if (entry > length - i)
            return;
        read_ivhd_entry(table, at + i, scope, &start);
        i += entry;
    }
}

static void read_ivrs_block(struct reader *reader, const uint8_t *at, size_t length) {
    switch (at[0]) {
    case IVHD_10:
    case IVHD_11:
    case IVHD_40:
        read_ivhd(reader->table, at, length);
        break;
    case IVMD_ALL:
    case IVMD_ONE:
    case IVMD_RANGE:
        if (length < 32)
            return;
        uint16_t first = (uint16_t)field(at + 4, 2);
        add_scope(reader->table, (struct dma_scope){
                                     .kind = DMA_SCOPE_RESERVED,
                                     .first = at[0] == IVMD_ALL ? 0 : first,
                                     .last = at[0] == IVMD_ALL     ? ANY_LAST
                                             : at[0] == IVMD_RANGE ? (uint16_t)field(at + 6, 2)
                                                                   : first,
                                     .base = field(at + 16, 8),
                                     .end = field(at + 16, 8) + field(at + 24, 8),
                                 });
        break;
    }
}

bool dma_table_read(struct dma_table *table, const void *data, size_t size,
                    uint8_t (*pci)(uint16_t id, unsigned offset)) {
    struct reader reader = {table, data, pci};
    *table = (struct dma_table){0};
    if (size < BLOCKS)
        return false;
    table->amd = memcmp(data, "IVRS", 4) == 0;
    if (!table->amd && memcmp(data, "DMAR", 4) != 0)
        return false;
    table->interrupts = !table->amd && (reader.data[37] & TABLE_INTERRUPTS);
    for (size_t at = BLOCKS; at + 4 <= size;) {
        size_t length = field(reader.data + at + 2, 2);
        if (length < 4 || length > size - at)
            break;
        (table->amd ? read_ivrs_block : read_dmar_block)(&reader, reader.data + at, length);
        at += length;
    }
    return table->units != 0;
}

int dma_table_unit(const struct dma_table *table, uint16_t segment, uint16_t id) {
    for (unsigned i = 0; i < table->scopes; i++) {
        const struct dma_scope *scope = &table->scope[i];
        if (scope->kind == DMA_SCOPE_DEVICES && scope->segment == segment && scope->first <= id &&
            id <= scope->last)
            return scope->unit;
    }
    for (unsigned i = 0; i < table->units; i++)
        if (table->unit[i].all && table->unit[i].segment == segment)
            return (int)i;
    return -1;
}
