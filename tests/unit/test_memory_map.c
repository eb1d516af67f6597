// SPDX-License-Identifier: BSD-2-Clause
// The loader's list of physical memory ranges, against a plain array of pages.
#include "boot/memory_map.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>

#define PAGE  4096ull
#define PAGES 64

static struct boot_memory_range ranges[BOOT_MAX_MEMORY_RANGES];
static struct memory_map map;

static void start(uint32_t capacity) {
    map = (struct memory_map){.range = ranges, .capacity = capacity};
}

static uint32_t type_at(uint64_t address) {
    uint32_t type = 0;
    for (uint32_t i = 0; i < map.count; i++) {
        if (address >= ranges[i].base && address - ranges[i].base < ranges[i].size)
            type = ranges[i].type;
    }
    return type;
}

static void assert_tidy(void) {
    for (uint32_t i = 0; i < map.count; i++) {
        ck_assert_uint_gt(ranges[i].size, 0);
        if (i == 0)
            continue;
        uint64_t end = ranges[i - 1].base + ranges[i - 1].size;
        ck_assert_uint_le(end, ranges[i].base);
        ck_assert(end < ranges[i].base || ranges[i - 1].type != ranges[i].type);
    }
}

START_TEST(random_ranges_match_a_page_array) {
    srand(1);
    for (unsigned round = 0; round < 300; round++) {
        uint32_t pages[PAGES] = {0};
        start(BOOT_MAX_MEMORY_RANGES);
        for (unsigned step = 0; step < 40; step++) {
            uint64_t base = (uint64_t)rand() % PAGES;
            uint64_t count = (uint64_t)rand() % (PAGES - base + 1);
            uint32_t type = 1 + (uint32_t)rand() % 3;
            ck_assert_int_eq(memory_map_set(&map, base * PAGE, count * PAGE, type), 0);
            for (uint64_t i = base; i < base + count; i++)
                pages[i] = type;
            assert_tidy();
        }
        uint64_t total = 0;
        for (unsigned i = 0; i < PAGES; i++) {
            ck_assert_uint_eq(type_at(i * PAGE), pages[i]);
            ck_assert_uint_eq(type_at(i * PAGE + PAGE - 1), pages[i]);
            total += pages[i] == 2 ? PAGE : 0;
        }
        ck_assert_uint_eq(memory_map_total(&map, 2), total);
    }
}
END_TEST

START_TEST(full) {
    start(3);
    ck_assert_int_eq(memory_map_set(&map, 0, PAGE, 1), 0);
    ck_assert_int_eq(memory_map_set(&map, 2 * PAGE, PAGE, 1), 0);
    ck_assert_int_eq(memory_map_set(&map, 4 * PAGE, PAGE, 1), 0);
    ck_assert_int_eq(memory_map_set(&map, 6 * PAGE, PAGE, 1), -ENOSPC);
    ck_assert_uint_eq(map.count, 3);
    // What joins two ranges needs no new one.
    ck_assert_int_eq(memory_map_set(&map, PAGE, PAGE, 1), 0);
    ck_assert_uint_eq(map.count, 2);
}
END_TEST

START_TEST(overflow) {
    start(3);
    ck_assert_int_eq(memory_map_set(&map, UINT64_MAX - PAGE + 1, 2 * PAGE, 1), -EINVAL);
    ck_assert_uint_eq(map.count, 0);
}
END_TEST

Suite *memory_map_suite(void) {
    Suite *suite = suite_create("memory map");
    TCase *tests = tcase_create("set");
    tcase_add_test(tests, random_ranges_match_a_page_array);
    tcase_add_test(tests, full);
    tcase_add_test(tests, overflow);
    suite_add_tcase(suite, tests);
    return suite;
}
