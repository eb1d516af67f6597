// SPDX-License-Identifier: BSD-2-Clause
// ACPI tables, good and damaged.
// Sources: arch/x86/cpu/acpi.c
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/cpu/acpi.h"

// Physical memory of these tests: addresses are offsets. Reads past its end are refused.
enum {
    MEMORY = 8192,
    RSDP = 0x10,
    ROOT = 0x100,
    MADT = 0x200,
    FADT = 0x600,
    HPET = 0x900,
    DSDT = 0xa00,
    SRAT = 0xc00,
    SLIT = 0xe00,
    MCFG = 0xf00,
};

static uint8_t memory[MEMORY];
static struct acpi_machine machine;

static const void *map(uint64_t physical, size_t size) {
    return physical < MEMORY && size <= MEMORY - physical ? memory + physical : NULL;
}

static void put(size_t at, uint64_t value, size_t size) {
    memcpy(memory + at, &value, size);
}

static void fix_sum(size_t at, size_t size, size_t sum_at) {
    uint8_t sum = 0;
    memory[sum_at] = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[sum_at] = (uint8_t)-sum;
}

static void finish_table(size_t at, const char *signature, uint32_t length) {
    memcpy(memory + at, signature, 4);
    put(at + 4, length, 4);
    fix_sum(at, length, at + 9);
}

static void build_rsdp(unsigned revision) {
    memcpy(memory + RSDP, "RSD PTR ", 8);
    put(RSDP + 15, revision, 1);
    put(RSDP + 16, ROOT, 4);
    put(RSDP + 20, 36, 4);
    put(RSDP + 24, ROOT, 8);
    fix_sum(RSDP, 20, RSDP + 8);
    fix_sum(RSDP, 36, RSDP + 32);
}

static void build_root(bool extended) {
    static const uint64_t addresses[] = {MADT, FADT, HPET, SRAT, SLIT, MCFG};
    size_t size = extended ? 8 : 4;
    for (size_t i = 0; i < 6; i++)
        put(ROOT + 36 + i * size, addresses[i], size);
    finish_table(ROOT, extended ? "XSDT" : "RSDT", (uint32_t)(36 + 6 * size));
}

static size_t madt_entry(size_t at, const uint8_t *bytes, size_t size) {
    memcpy(memory + at, bytes, size);
    return at + size;
}

static void build_madt(void) {
    size_t at = MADT + 44;
    at = madt_entry(at, (uint8_t[]){0, 8, 0, 0, 1, 0, 0, 0}, 8);
    at = madt_entry(at, (uint8_t[]){0, 8, 1, 3, 1, 0, 0, 0}, 8);
    at = madt_entry(at, (uint8_t[]){0, 8, 2, 5, 0, 0, 0, 0}, 8); // not enabled
    at = madt_entry(at, (uint8_t[]){9, 16, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}, 16);
    at = madt_entry(at, (uint8_t[]){1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0}, 12);
    at = madt_entry(at, (uint8_t[]){2, 10, 0, 0, 2, 0, 0, 0, 0xd, 0}, 10);
    at = madt_entry(at, (uint8_t[]){0x7f, 3, 0}, 3); // a kind of its own
    finish_table(MADT, "APIC", (uint32_t)(at - MADT));
}

static void build_srat(void) {
    size_t at = SRAT + 48;
    at = madt_entry(at, (uint8_t[16]){0, 16, 1, 3, 1}, 16); // APIC ID 3 in domain 1
    at = madt_entry(at, (uint8_t[16]){0, 16, 2, 5}, 16);    // not enabled
    at = madt_entry(at, (uint8_t[24]){2, 24, [4] = 2, [8] = 0x2c, [9] = 1, [12] = 1}, 24);
    uint8_t range[40] = {1, 40, 1, [28] = 1};
    range[8 + 4] = 1;  // base 4 GiB
    range[16 + 3] = 2; // 32 MiB
    at = madt_entry(at, range, sizeof range);
    finish_table(SRAT, "SRAT", (uint32_t)(at - SRAT));
}

static void build_slit(void) {
    put(SLIT + 36, 2, 8);
    memcpy(memory + SLIT + 44, (uint8_t[]){10, 21, 22, 10}, 4);
    finish_table(SLIT, "SLIT", 48);
}

static void build_fadt(void) {
    put(FADT + 40, DSDT, 4);
    put(FADT + 48, 0xb2, 4);
    put(FADT + 52, 0xf1, 1);
    put(FADT + 64, 0x604, 4);
    put(FADT + 76, 0x608, 4);
    put(FADT + 91, 4, 1);
    put(FADT + 112, 1 << 8 | 1 << 10, 4);
    put(FADT + 116, 1, 1); // ports
    put(FADT + 120, 0xcf9, 8);
    put(FADT + 128, 0x0f, 1);
    finish_table(FADT, "FACP", 244);
}

static void build_dsdt(void) {
    static const uint8_t code[] = {0x5b, 0x80, 0x08, '_',  'S',  '5',  '_', 0x12,
                                   0x07, 0x04, 0x0a, 0x05, 0x01, 0x00, 0x00};
    memcpy(memory + DSDT + 36, code, sizeof code);
    finish_table(DSDT, "DSDT", 36 + sizeof code);
}

static void build_mcfg(void) {
    put(MCFG + 44, 0xc0000000, 8); // segment 1
    put(MCFG + 52, 1, 2);
    put(MCFG + 60, 0xb0000000, 8);
    put(MCFG + 71, 0x3f, 1);
    finish_table(MCFG, "MCFG", 76);
}

static void build(bool extended) {
    memset(memory, 0, sizeof memory);
    memset(&machine, 0, sizeof machine);
    build_rsdp(extended ? 2 : 0);
    build_root(extended);
    build_madt();
    build_fadt();
    build_dsdt();
    build_srat();
    build_slit();
    build_mcfg();
    put(HPET + 40, 0, 1);
    put(HPET + 44, 0xfed00000, 8);
    finish_table(HPET, "HPET", 56);
}

START_TEST(reads_everything) {
    build(_i);
    ck_assert(acpi_read(&machine, RSDP, map));
    ck_assert_uint_eq(machine.cpu_count, 3);
    ck_assert_uint_eq(machine.ecam, 0xb0000000);
    ck_assert_uint_eq(machine.ecam_last_bus, 0x3f);
    ck_assert_uint_eq(machine.cpu[1], 3);
    ck_assert_uint_eq(machine.cpu[2], 300);
    ck_assert_uint_eq(machine.io_apic_count, 1);
    ck_assert_uint_eq(machine.io_apic[0].address, 0xfec00000);
    ck_assert_uint_eq(machine.io_apic[0].first_gsi, 24);
    ck_assert_uint_eq(machine.override_count, 1);
    ck_assert_uint_eq(machine.override[0].gsi, 2);
    ck_assert_uint_eq(machine.override[0].flags, 0xd);
    ck_assert_uint_eq(machine.hpet, 0xfed00000);
    ck_assert_uint_eq(machine.cpu_domain_count, 2);
    ck_assert_uint_eq(machine.cpu_domain[0].apic_id, 3);
    ck_assert_uint_eq(machine.cpu_domain[0].domain, 1);
    ck_assert_uint_eq(machine.cpu_domain[1].apic_id, 300);
    ck_assert_uint_eq(machine.cpu_domain[1].domain, 2);
    ck_assert_uint_eq(machine.node_range_count, 1);
    ck_assert_uint_eq(machine.node_range[0].base, 1ull << 32);
    ck_assert_uint_eq(machine.node_range[0].size, 32 << 20);
    ck_assert_uint_eq(machine.node_range[0].domain, 1);
    ck_assert_uint_eq(machine.distance[0][1], 21);
    ck_assert_uint_eq(machine.distance[1][0], 22);
    ck_assert_uint_eq(machine.pm_timer_port, 0x608);
    ck_assert(machine.pm_timer_32);
    ck_assert_uint_eq(machine.pm1a_control, 0x604);
    ck_assert(machine.soft_off);
    ck_assert_uint_eq(machine.soft_off_a, 5);
    ck_assert_uint_eq(machine.soft_off_b, 1);
    ck_assert(machine.reset.present && !machine.reset.in_memory);
    ck_assert_uint_eq(machine.reset.address, 0xcf9);
    ck_assert_uint_eq(machine.reset_value, 0x0f);
}
END_TEST

START_TEST(refuses_a_bad_root) {
    build(true);
    ck_assert(!acpi_read(&machine, 0, map));
    ck_assert(!acpi_read(&machine, MEMORY - 4, map));
    memory[RSDP + 9] ^= 1; // its checksum is wrong now
    ck_assert(!acpi_read(&machine, RSDP, map));
    ck_assert_uint_eq(machine.cpu_count, 0);
}
END_TEST

START_TEST(leaves_a_damaged_table_out) {
    build(true);
    memory[MADT + 20] ^= 0x40;
    ck_assert(acpi_read(&machine, RSDP, map));
    ck_assert_uint_eq(machine.cpu_count, 0);
    ck_assert_uint_eq(machine.hpet, 0xfed00000);
}
END_TEST

START_TEST(stops_at_a_broken_entry) {
    build(true);
    put(MADT + 44 + 8 + 1, 0, 1); // length 0 would never end
    fix_sum(MADT, memory[MADT + 4] | memory[MADT + 5] << 8, MADT + 9);
    ck_assert(acpi_read(&machine, RSDP, map));
    ck_assert_uint_eq(machine.cpu_count, 1);
}
END_TEST

START_TEST(survives_any_single_byte) {
    // Whatever byte is wrong, nothing outside the memory is read (ASan, and map refuses).
    for (size_t at = 0; at < DSDT + 64; at++)
        for (unsigned value = 0; value < 256; value += 85) {
            build(true);
            memory[at] = (uint8_t)value;
            finish_table(MADT, "APIC", (uint32_t)(memory[MADT + 4] | memory[MADT + 5] << 8) % 512);
            finish_table(DSDT, "DSDT", (uint32_t)memory[DSDT + 4]);
            acpi_read(&machine, RSDP, map);
            ck_assert_uint_le(machine.cpu_count, ACPI_MAX_CPUS);
        }
}
END_TEST

Suite *acpi_suite(void);
Suite *acpi_suite(void) {
    Suite *suite = suite_create("acpi");
    TCase *tests = tcase_create("tables");
    tcase_add_loop_test(tests, reads_everything, 0, 2);
    tcase_add_test(tests, refuses_a_bad_root);
    tcase_add_test(tests, leaves_a_damaged_table_out);
    tcase_add_test(tests, stops_at_a_broken_entry);
    tcase_add_test(tests, survives_any_single_byte);
    suite_add_tcase(suite, tests);
    return suite;
}
