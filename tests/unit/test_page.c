// SPDX-License-Identifier: BSD-2-Clause
// The page allocator.
// Sources: tests/unit/fake_memory.c core/mm/heap.c arch/x86/mm/page_walker.c
// Sources: arch/x86/mm/page_format.c
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

START_TEST(blocks_are_aligned_and_distinct) {
    fake_memory_start();
    size_t before = page_free_bytes();
    uint64_t blocks[10];
    for (unsigned order = 0; order < 10; order++) {
        blocks[order] = page_alloc(order);
        ck_assert_uint_ne(blocks[order], PHYSICAL_NONE);
        ck_assert_uint_eq(blocks[order] & ((PAGE_SIZE << order) - 1), 0);
        memset(page_to_virtual(blocks[order]), (int)order + 1, PAGE_SIZE << order);
    }
    for (unsigned order = 0; order < 10; order++) {
        const unsigned char *bytes = page_to_virtual(blocks[order]);
        for (size_t i = 0; i < PAGE_SIZE << order; i += 512)
            ck_assert_uint_eq(bytes[i], order + 1);
        page_put(blocks[order]);
    }
    ck_assert_uint_eq(page_free_bytes(), before);
}
END_TEST

START_TEST(freed_memory_joins_again) {
    fake_memory_start();
    size_t before = page_free_bytes();
    uint64_t *pages = malloc(FAKE_RAM_SIZE / PAGE_SIZE * sizeof *pages);
    size_t count = 0;
    for (uint64_t page; (page = page_alloc(0)) != PHYSICAL_NONE;)
        pages[count++] = page;
    ck_assert_uint_eq(count * PAGE_SIZE, before);
    ck_assert_uint_eq(page_free_bytes(), 0);
    for (size_t i = 0; i < count; i += 2)
        page_put(pages[i]);
    ck_assert_uint_eq(page_alloc(1), PHYSICAL_NONE); // every second page is still out
    for (size_t i = 1; i < count; i += 2)
        page_put(pages[i]);
    free(pages);
    uint64_t big = page_alloc(12); // 16 MiB
    ck_assert_uint_ne(big, PHYSICAL_NONE);
    page_put(big);
    ck_assert_uint_eq(page_free_bytes(), before);
}
END_TEST

START_TEST(references_hold_the_block) {
    fake_memory_start();
    size_t before = page_free_bytes();
    uint64_t block = page_alloc(PAGE_ORDER_2M);
    page_get(block + 5 * PAGE_SIZE); // any page of it stands for the block
    ck_assert_uint_eq(page_references(block), 2);
    page_put(block);
    ck_assert_uint_eq(page_free_bytes(), before - (2 << 20));
    page_put(block + 511 * PAGE_SIZE);
    ck_assert_uint_eq(page_free_bytes(), before);
}
END_TEST

START_TEST(split_gives_pages_their_own_references) {
    fake_memory_start();
    size_t before = page_free_bytes();
    uint64_t block = page_alloc_for(PAGE_ORDER_2M, PAGE_ANONYMOUS);
    ck_assert_uint_eq(page_user_bytes(), 2 << 20);
    page_split(block, PAGE_ORDER_2M);
    for (unsigned i = 0; i < 512; i++) {
        ck_assert_uint_eq(page_references(block + i * PAGE_SIZE), 1);
        ck_assert_uint_eq(page_use(block + i * PAGE_SIZE), PAGE_ANONYMOUS);
    }
    for (unsigned i = 0; i < 512; i++)
        page_put(block + (i ^ 1) * PAGE_SIZE);
    ck_assert_uint_eq(page_free_bytes(), before);
    ck_assert_uint_eq(page_user_bytes(), 0);
}
END_TEST

START_TEST(memory_beyond_the_array_is_ignored) {
    fake_memory_start();
    size_t before = page_total();
    page_add_free(FAKE_RAM_SIZE, 16 << 20);
    ck_assert_uint_eq(page_total(), before);
    page_get(FAKE_RAM_SIZE + 4096); // no effect, no crash
    page_put(FAKE_RAM_SIZE + 4096);
    ck_assert_uint_eq(page_use(FAKE_RAM_SIZE + 4096), 0);
    ck_assert_uint_eq(page_alloc(PAGE_ORDER_1G), PHYSICAL_NONE);
    ck_assert_uint_eq(page_alloc(PAGE_ORDER_1G + 1), PHYSICAL_NONE);
}
END_TEST

START_TEST(random_traffic_keeps_the_books) {
    enum { SLOTS = 300 };
    fake_memory_start();
    size_t before = page_free_bytes(), out = 0;
    uint64_t block[SLOTS];
    unsigned order[SLOTS] = {0};
    for (unsigned i = 0; i < SLOTS; i++)
        block[i] = PHYSICAL_NONE;
    srand(1);
    for (unsigned round = 0; round < 50000; round++) {
        unsigned i = (unsigned)rand() % SLOTS;
        if (block[i] != PHYSICAL_NONE) {
            ck_assert_uint_eq(*(uint64_t *)page_to_virtual(block[i]), block[i] ^ i);
            page_put(block[i]);
            out -= PAGE_SIZE << order[i];
            block[i] = PHYSICAL_NONE;
        } else {
            order[i] = (unsigned)rand() % 7;
            block[i] = page_alloc(order[i]);
            if (block[i] == PHYSICAL_NONE)
                continue;
            *(uint64_t *)page_to_virtual(block[i]) = block[i] ^ i;
            out += PAGE_SIZE << order[i];
        }
        ck_assert_uint_eq(page_free_bytes(), before - out);
    }
}
END_TEST

Suite *page_suite(void);
Suite *page_suite(void) {
    Suite *suite = suite_create("page");
    TCase *tests = tcase_create("page");
    tcase_add_test(tests, blocks_are_aligned_and_distinct);
    tcase_add_test(tests, freed_memory_joins_again);
    tcase_add_test(tests, references_hold_the_block);
    tcase_add_test(tests, split_gives_pages_their_own_references);
    tcase_add_test(tests, memory_beyond_the_array_is_ignored);
    tcase_add_test(tests, random_traffic_keeps_the_books);
    suite_add_tcase(suite, tests);
    return suite;
}
