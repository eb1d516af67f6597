// SPDX-License-Identifier: BSD-2-Clause
// DMAR and IVRS, good and damaged.
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/iommu/dma_table.h"

static uint8_t memory[4096];
static size_t length;
static struct dma_table table;

static void put(size_t at, uint64_t value, size_t size) {
    memcpy(memory + at, &value, size);
}

static void begin(const char *signature) {
    memset(memory, 0, sizeof memory);
    memcpy(memory, signature, 4);
    memory[37] = 1; // DMAR: interrupt remapping
    length = 48;
}

static void append(const void *bytes, size_t size) {
    memcpy(memory + length, bytes, size);
    length += size;
}

// A bridge at 00:1c.0 to buses 3 to 5, and one at 03:00.0 to bus 4.
static uint8_t pci(uint16_t id, unsigned offset) {
    ck_assert(offset == 0x19 || offset == 0x1a);
    if (id == 0x00e0)
        return offset == 0x19 ? 3 : 5;
    return id == 0x0300 ? 4 : 0;
}

static bool read_table(void) {
    uint8_t *exact = malloc(length + 1); // the sanitizer sees reads behind it
    ck_assert_ptr_nonnull(exact);
    memcpy(exact + 1, memory, length);
    bool good = dma_table_read(&table, exact + 1, length, pci);
    free(exact);
    return good;
}

static void append_dmar(void) {
    static const uint8_t graphics[] = {0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xd9, 0xfe,
                                       0, 0, 0,  0, 1, 8, 0, 0, 0, 0, 2,    0};
    static const uint8_t rest[] = {0, 0,  44, 0, 1, 0, 0,    0, 0, 0, 0xd8, 0xfe,
                                   0, 0,  0,  0, 3, 8, 0,    0, 2, 0, 0x1e, 7, // I/O APIC 2
                                   2, 8,  0,  0, 0, 0, 0x1c, 0,                // the bridge
                                   1, 12, 0,  0, 0, 0, 0x1c, 0, 0, 0, 1,    2};
    append(graphics, sizeof graphics);
    append(rest, sizeof rest);
    size_t at = length; // reserved memory of 00:14.0
    memory[at] = 1;
    put(at + 2, 32, 2);
    put(at + 8, 0x7b000000, 8);
    put(at + 16, 0x7b7fffff, 8);
    memcpy(memory + at + 24, (uint8_t[]){1, 8, 0, 0, 0, 0, 0x14, 0}, 8);
    length += 32;
}

static const struct dma_scope *scope_of(uint8_t kind, uint16_t first) {
    for (unsigned i = 0; i < table.scopes; i++)
        if (table.scope[i].kind == kind && table.scope[i].first == first)
            return &table.scope[i];
    return NULL;
}

START_TEST(dmar_is_read) {
    begin("DMAR");
    append_dmar();
    ck_assert(read_table());
    ck_assert(!table.amd && table.interrupts);
    ck_assert_uint_eq(table.units, 2);
    ck_assert_uint_eq(table.unit[1].registers, 0xfed80000);
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0010), 0); // 00:02.0
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0011), 1); // all others
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0412), 1);
    ck_assert_int_eq(dma_table_unit(&table, 1, 0x0010), -1);
    const struct dma_scope *scope = scope_of(DMA_SCOPE_IO_APIC, 0x00f7);
    ck_assert(scope && scope->io_apic == 2 && scope->unit == 1);
    scope = scope_of(DMA_SCOPE_DEVICES, 0x0300);
    ck_assert(scope && scope->last == 0x05ff);                  // behind the bridge
    ck_assert_ptr_nonnull(scope_of(DMA_SCOPE_DEVICES, 0x040a)); // 00:1c.0, 03:00.0, 04:01.2
    scope = scope_of(DMA_SCOPE_RESERVED, 0x00a0);
    ck_assert(scope && scope->base == 0x7b000000 && scope->end == 0x7b800000);
}
END_TEST

static void append_ivhd(uint8_t type, const uint8_t *entries, size_t size) {
    size_t at = length, header = type == 0x10 ? 24 : 40;
    memory[at] = type;
    put(at + 2, header + size, 2);
    put(at + 4, 0x0002, 2); // the unit is 00:00.2
    put(at + 8, 0xfed80000, 8);
    length += header;
    append(entries, size);
}

START_TEST(ivrs_is_read) {
    static const uint8_t entries[] = {2,  8, 0, 0,                // 00:01.0
                                      3,  0, 1, 0, 4, 0xff, 2, 0, // buses 1 and 2
                                      66, 0, 5, 0, 0, 0x10, 0, 0, // 05:00.0, which comes as 00:02.0
                                      72, 0, 0, 0, 4, 0xa0, 0, 1, // I/O APIC 4
                                      0,  0, 0, 0};
    static const uint8_t more[] = {2, 8, 0, 0, 70, 0, 6, 0, 0, 0, 0, 0};
    begin("IVRS");
    append_ivhd(0x10, entries, sizeof entries);
    append_ivhd(0x11, more, sizeof more);
    memory[length] = 0x22; // reserved for 00:12.0 to 00:12.7
    put(length + 2, 32, 2);
    put(length + 4, 0x0090, 2);
    put(length + 6, 0x0097, 2);
    put(length + 16, 0x10000, 8);
    put(length + 24, 0x2000, 8);
    length += 32;
    ck_assert(read_table());
    ck_assert(table.amd && table.interrupts);
    ck_assert_uint_eq(table.units, 1); // told twice
    ck_assert_uint_eq(table.unit[0].id, 2);
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0008), 0);
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0123), 0);
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0300), -1);
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0500), 0);
    ck_assert_int_eq(dma_table_unit(&table, 0, 0x0600), 0);
    const struct dma_scope *scope = scope_of(DMA_SCOPE_IO_APIC, 0x00a0);
    ck_assert(scope && scope->io_apic == 4);
    scope = scope_of(DMA_SCOPE_RESERVED, 0x0090);
    ck_assert(scope && scope->last == 0x0097 && scope->end == 0x12000);
}
END_TEST

START_TEST(damage_is_survived) {
    begin("XXXX");
    append_dmar();
    ck_assert(!read_table());
    // Every cut and every single damaged byte: nothing outside is read.
    for (unsigned kind = 0; kind < 2; kind++) {
        static const uint8_t entries[] = {2, 8, 0, 0, 240, 0, 0, 0, 1, 0, 0, 0, 0,  0, 0, 0,
                                          0, 0, 0, 0, 0,   0, 0, 0, 0, 2, 3, 4, 72, 0, 0, 0};
        begin(kind ? "DMAR" : "IVRS");
        if (kind)
            append_dmar();
        else
            append_ivhd(0x40, entries, sizeof entries);
        size_t whole = length;
        for (length = 0; length < whole; length++)
            read_table();
        for (size_t at = 48; at < whole; at++)
            for (unsigned value = 0; value < 256; value += 5) {
                uint8_t was = memory[at];
                memory[at] = (uint8_t)value;
                read_table();
                ck_assert_uint_le(table.scopes, DMA_TABLE_SCOPES);
                memory[at] = was;
            }
    }
}
END_TEST

Suite *dma_table_suite(void);
Suite *dma_table_suite(void) {
    Suite *suite = suite_create("dma_table");
    TCase *tests = tcase_create("tables");
    tcase_add_test(tests, dmar_is_read);
    tcase_add_test(tests, ivrs_is_read);
    tcase_add_test(tests, damage_is_survived);
    suite_add_tcase(suite, tests);
    return suite;
}
