// SPDX-License-Identifier: BSD-2-Clause
// The kernel heap.
// Sources: tests/unit/fake_memory.c core/mm/page.c arch/x86/mm/page_walker.c
// Sources: arch/x86/mm/page_format.c
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

static bool is_zero(const void *memory, size_t size) {
    const unsigned char *bytes = memory;
    for (size_t i = 0; i < size; i++)
        if (bytes[i])
            return false;
    return true;
}

START_TEST(every_size_is_zeroed_aligned_and_its_own) {
    fake_memory_start();
    void *memory[2100];
    for (size_t size = 1; size < 2100; size++) {
        memory[size] = heap_alloc(size);
        ck_assert_ptr_nonnull(memory[size]);
        ck_assert_uint_eq((uintptr_t)memory[size] % (size >= 64 ? 64 : 16), 0);
        ck_assert(is_zero(memory[size], size));
        memset(memory[size], (int)(size % 251) + 1, size);
    }
    for (size_t size = 1; size < 2100; size++) {
        const unsigned char *bytes = memory[size];
        for (size_t i = 0; i < size; i++)
            ck_assert_uint_eq(bytes[i], size % 251 + 1);
    }
    for (size_t size = 1; size < 2100; size++)
        heap_free(memory[size]);
    // Memory that comes back is zero again.
    for (size_t size = 1; size < 2100; size++) {
        void *again = heap_alloc(size);
        ck_assert(is_zero(again, size));
        heap_free(again);
    }
}
END_TEST

START_TEST(freed_slabs_go_back) {
    enum { OBJECTS = 10000 };
    fake_memory_start();
    void **objects = malloc(OBJECTS * sizeof *objects);
    size_t before = page_free_bytes();
    for (unsigned i = 0; i < OBJECTS; i++)
        objects[i] = heap_alloc(48);
    ck_assert_uint_lt(page_free_bytes(), before - OBJECTS * 48);
    for (unsigned i = 0; i < OBJECTS; i++)
        heap_free(objects[i * 7919ul % OBJECTS]);
    free(objects);
    ck_assert_uint_ge(page_free_bytes() + PAGE_SIZE, before); // one empty slab may stay
}
END_TEST

START_TEST(large_sizes_are_pages) {
    fake_memory_start();
    size_t before = page_free_bytes();
    for (size_t size = 4096; size <= 2 << 20; size *= 2) {
        void *memory = heap_alloc(size);
        ck_assert(is_zero(memory, size));
        memset(memory, 1, size);
        ck_assert_uint_eq(page_free_bytes(), before - size);
        heap_free(memory);
    }
    ck_assert_uint_eq(page_free_bytes(), before);
    ck_assert_ptr_null(heap_alloc((2 << 20) + 1));
    heap_free(NULL);
}
END_TEST

START_TEST(exhaustion_is_a_null) {
    fake_memory_start();
    while (page_alloc(0) != PHYSICAL_NONE)
        continue;
    ck_assert_ptr_null(heap_alloc(8192));
    ck_assert_ptr_null(heap_alloc(100));
}
END_TEST

START_TEST(kernel_memory_counts_what_is_not_the_users) {
    fake_memory_start();
    size_t before = kernel_memory_bytes();
    ck_assert_uint_ge(before, page_array_size(FAKE_RAM_SIZE));
    uint64_t user = page_alloc_for(3, PAGE_SHARED);
    ck_assert_uint_eq(kernel_memory_bytes(), before);
    void *memory = heap_alloc(8192);
    ck_assert_uint_eq(kernel_memory_bytes(), before + 8192);
    kernel_memory_add(1000);
    ck_assert_uint_eq(kernel_memory_bytes(), before + 9192);
    heap_free(memory);
    page_put(user);
    ck_assert_uint_eq(kernel_memory_bytes(), before + 1000);
}
END_TEST

Suite *heap_suite(void);
Suite *heap_suite(void) {
    Suite *suite = suite_create("heap");
    TCase *tests = tcase_create("heap");
    tcase_add_test(tests, every_size_is_zeroed_aligned_and_its_own);
    tcase_add_test(tests, freed_slabs_go_back);
    tcase_add_test(tests, large_sizes_are_pages);
    tcase_add_test(tests, exhaustion_is_a_null);
    tcase_add_test(tests, kernel_memory_counts_what_is_not_the_users);
    suite_add_tcase(suite, tests);
    return suite;
}
