// SPDX-License-Identifier: BSD-2-Clause
// The guest page-table walk.
// Sources: arch/x86/guest/guest_walk.c
#include <check.h>
#include <string.h>
#include "arch/x86/guest/guest_walk.h"

#define MEMORY 0x10000
static uint8_t memory[MEMORY];
static int lost_exchanges;

static bool read_memory(void *context, uint64_t gpa, void *data, uint32_t len) {
    (void)context;
    if (gpa > MEMORY - len)
        return false;
    memcpy(data, memory + gpa, len);
    return true;
}

static bool exchange(void *context, uint64_t gpa, uint64_t old_value, uint64_t new_value,
                     uint32_t len) {
    uint64_t now = 0;
    (void)context;
    if (lost_exchanges && lost_exchanges--)
        return false;
    memcpy(&now, memory + gpa, len);
    if (now != old_value)
        return false;
    memcpy(memory + gpa, &new_value, len);
    return true;
}

static const struct guest_walk_ops ops = {read_memory, exchange};
static struct guest_paging paging;
static struct guest_translation translation;
static struct guest_exception fault;

static void put(uint64_t gpa, uint64_t entry) {
    memcpy(memory + gpa, &entry, 8);
}

static uint64_t entry_at(uint64_t gpa) {
    uint64_t entry;
    memcpy(&entry, memory + gpa, 8);
    return entry;
}

static void put32(uint64_t gpa, uint32_t entry) {
    memcpy(memory + gpa, &entry, 4);
}

static int walk(uint64_t linear, unsigned access) {
    memset(&fault, 0, sizeof fault);
    return guest_walk(&paging, &ops, NULL, linear, access, &translation, &fault);
}

// 4-level: linear 0 -> 0x5000 (user rw), 0x1000 -> read-only supervisor NX, 0x200000: 2 MiB page.
static void start(void) {
    memset(memory, 0, sizeof memory);
    lost_exchanges = 0;
    put(0x1000, 0x2007);
    put(0x2000, 0x3007);
    put(0x3000, 0x4007);
    put(0x3008, 0xa00087);
    put(0x4000, 0x5007);
    put(0x4008, 0x8000000000006001);
    put(0x4010, 0x7005); // user, read-only
    paging = (struct guest_paging){.cr0 = 0x80010001,
                                   .cr3 = 0x1000,
                                   .cr4 = 0x20,
                                   .efer = 0xd00,
                                   .physical_bits = 40,
                                   .gbpages = true};
}

START_TEST(no_paging) {
    start();
    paging.cr0 = 1;
    ck_assert_int_eq(walk(0x12345678, GUEST_WRITE), 0);
    ck_assert_uint_eq(translation.gpa, 0x12345678);
}
END_TEST

START_TEST(four_levels_and_accessed_dirty) {
    start();
    ck_assert_int_eq(walk(0x123, GUEST_READ), 0);
    ck_assert_uint_eq(translation.gpa, 0x5123);
    ck_assert_uint_eq(translation.page_size, 4096);
    ck_assert_uint_eq(entry_at(0x4000), 0x5027);
    ck_assert_uint_eq(entry_at(0x1000), 0x2027);
    ck_assert_int_eq(walk(0x123, GUEST_WRITE), 0);
    ck_assert_uint_eq(entry_at(0x4000), 0x5067);
    ck_assert_uint_eq(entry_at(0x3000), 0x4027); // dirty only in the leaf
    ck_assert_int_eq(walk(0x2abcde, GUEST_WRITE | GUEST_NO_SET_AD), 0);
    ck_assert_uint_eq(translation.gpa, 0xaabcde);
    ck_assert_uint_eq(translation.page_size, 0x200000);
    ck_assert_uint_eq(entry_at(0x3008), 0xa00087);
}
END_TEST

START_TEST(faults) {
    start();
    ck_assert_int_eq(walk(0x3000, GUEST_WRITE), -1);
    ck_assert_uint_eq(fault.vector, GUEST_PF);
    ck_assert_uint_eq(fault.error_code, 2);
    ck_assert_uint_eq(fault.cr2, 0x3000);
    ck_assert_int_eq(walk(0x1000, GUEST_WRITE), -1); // WP
    ck_assert_uint_eq(fault.error_code, 3);
    paging.cr0 &= ~0x10000ull;
    ck_assert_int_eq(walk(0x1000, GUEST_WRITE), 0);
    ck_assert_int_eq(walk(0x1000, GUEST_FETCH), -1);
    ck_assert_uint_eq(fault.error_code, 0x11);
    paging.cpl = 3;
    ck_assert_int_eq(walk(0x1000, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 5);
    ck_assert_int_eq(walk(0x1000, GUEST_READ | GUEST_IMPLICIT), 0);
    ck_assert_int_eq(walk(0x2000, GUEST_WRITE), -1); // user, WP clear: still read-only
    ck_assert_uint_eq(fault.error_code, 7);
    ck_assert_int_eq(walk(0x1000, GUEST_WRITE | GUEST_NO_CHECK), 0);
    put(0x1000, 0x2007 | 1ull << 45); // above MAXPHYADDR
    ck_assert_int_eq(walk(0, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 0xd);
    put(0x1000, 0xfff000007);
    ck_assert_int_eq(walk(0, GUEST_READ), -1); // table beyond memory
}
END_TEST

START_TEST(reserved_bits) {
    start();
    paging.efer &= ~0x800ull; // NX is reserved then
    ck_assert_int_eq(walk(0x1000, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 9);
    put(0x3008, 0xa02087); // bit 13 of a 2 MiB page
    ck_assert_int_eq(walk(0x200000, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 9);
    put(0x2008, 0x40000087); // 1 GiB page
    ck_assert_int_eq(walk(0x40000123, GUEST_READ), 0);
    ck_assert_uint_eq(translation.gpa, 0x40000123);
    paging.gbpages = false;
    ck_assert_int_eq(walk(0x40000123, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 9);
}
END_TEST

START_TEST(smep_smap) {
    start();
    paging.cr4 |= 1 << 20 | 1 << 21;
    ck_assert_int_eq(walk(0, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 1);
    paging.rflags = 1 << 18;
    ck_assert_int_eq(walk(0, GUEST_READ), 0);
    ck_assert_int_eq(walk(0, GUEST_READ | GUEST_IMPLICIT), -1);
    ck_assert_int_eq(walk(0, GUEST_FETCH), -1);
    ck_assert_uint_eq(fault.error_code, 0x11);
    paging.cpl = 3;
    ck_assert_int_eq(walk(0, GUEST_FETCH), 0);
}
END_TEST

START_TEST(protection_keys) {
    start();
    paging.cr4 |= 1 << 22;
    put(0x4000, 0x5007 | 3ull << 59);
    paging.pkru = 1u << 7; // key 3: no writes
    paging.cpl = 3;
    ck_assert_int_eq(walk(0, GUEST_READ), 0);
    ck_assert_int_eq(walk(0, GUEST_WRITE), -1);
    ck_assert_uint_eq(fault.error_code, 0x27);
    paging.pkru = 1u << 6;
    ck_assert_int_eq(walk(0, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 0x25);
    ck_assert_int_eq(walk(0, GUEST_FETCH), 0);
}
END_TEST

START_TEST(lost_update_is_retried) {
    start();
    lost_exchanges = 2;
    ck_assert_int_eq(walk(0, GUEST_WRITE), 0);
    ck_assert_uint_eq(entry_at(0x4000), 0x5067);
    start();
    lost_exchanges = 1000;
    ck_assert_int_eq(walk(0, GUEST_WRITE), -1); // does not turn for ever
}
END_TEST

START_TEST(two_levels) {
    start();
    paging =
        (struct guest_paging){.cr0 = 0x80000001, .cr3 = 0x8000, .cr4 = 0x10, .physical_bits = 40};
    put32(0x8000 + 4 * 4, 0x9007);
    put32(0x9000 + 5 * 4, 0x6003);
    put32(0x8000 + 8 * 4, 0x00c00083 | 1 << 13); // 4 MiB page at 4 GiB + 0xc00000 (PSE-36)
    ck_assert_int_eq(walk(0x1005678, GUEST_WRITE), 0);
    ck_assert_uint_eq(translation.gpa, 0x6678);
    ck_assert_int_eq(walk(0x2012345, GUEST_READ), 0);
    ck_assert_uint_eq(translation.gpa, 0x100c12345);
    ck_assert_uint_eq(translation.page_size, 0x400000);
    ck_assert_int_eq(walk(0x3000000, GUEST_FETCH), -1);
    ck_assert_uint_eq(fault.error_code, 0); // no NX, no SMEP: fetches are not told
    paging.cpl = 3;
    ck_assert_int_eq(walk(0x1005678, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 5);
}
END_TEST

START_TEST(pae) {
    start();
    paging = (struct guest_paging){
        .cr0 = 0x80010001, .cr3 = 0x8020, .cr4 = 0x20, .efer = 0x800, .physical_bits = 40};
    put(0x8020 + 3 * 8, 0x9001);
    put(0x9000 + 511 * 8, 0xb007);
    put(0xb000 + 511 * 8, 0x8000000000006003);
    ck_assert_int_eq(walk(0xfffff123, GUEST_WRITE), 0);
    ck_assert_uint_eq(translation.gpa, 0x6123);
    ck_assert_uint_eq(entry_at(0x8038), 0x9001); // a PDPTE has no accessed bit
    ck_assert_int_eq(walk(0xfffff123, GUEST_FETCH), -1);
    ck_assert_uint_eq(fault.error_code, 0x11);
    put(0x8020 + 3 * 8, 0x9021); // but a processor that sets it is no fault of the guest's
    ck_assert_int_eq(walk(0xfffff123, GUEST_READ), 0);
    put(0x8020 + 3 * 8, 0x9003);
    ck_assert_int_eq(walk(0xfffff123, GUEST_READ), -1);
    ck_assert_uint_eq(fault.error_code, 9);
}
END_TEST

START_TEST(five_levels) {
    start();
    paging.cr4 |= 1 << 12;
    put(0xc000 + 8 * 1, 0x1007);
    paging.cr3 = 0xc000;
    ck_assert_int_eq(walk(1ull << 48 | 0x77, GUEST_READ), 0);
    ck_assert_uint_eq(translation.gpa, 0x5077);
    ck_assert(guest_canonical(&paging, 1ull << 48));
    paging.cr4 &= ~(1ull << 12);
    ck_assert(!guest_canonical(&paging, 1ull << 48));
    ck_assert(guest_canonical(&paging, 0xffff800000000000));
}
END_TEST

Suite *guest_walk_suite(void) {
    Suite *suite = suite_create("guest_walk");
    TCase *tests = tcase_create("guest_walk");
    tcase_add_test(tests, no_paging);
    tcase_add_test(tests, four_levels_and_accessed_dirty);
    tcase_add_test(tests, faults);
    tcase_add_test(tests, reserved_bits);
    tcase_add_test(tests, smep_smap);
    tcase_add_test(tests, protection_keys);
    tcase_add_test(tests, lost_update_is_retried);
    tcase_add_test(tests, two_levels);
    tcase_add_test(tests, pae);
    tcase_add_test(tests, five_levels);
    suite_add_tcase(suite, tests);
    return suite;
}
