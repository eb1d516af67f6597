// SPDX-License-Identifier: BSD-2-Clause
// Memory objects and the page tree under them.
// Sources: tests/unit/fake_memory.c core/mm/page.c core/mm/heap.c core/mm/shared_memory.c
// Sources: core/mm/address_space_map.c core/mm/address_space_fault.c core/mm/leaf_range.c
// Sources: core/mm/mapping.c core/mm/mapping_change.c core/mm/account.c
// Sources: core/mm/fixed_memory.c arch/x86/mm/page_walker.c arch/x86/mm/page_format.c
#include <asm/errno.h>
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/mm/page_tree.h"
#include "tests/unit/fake_memory.h"

START_TEST(tree_finds_what_was_put_in) {
    static const uint64_t indexes[] = {0, 1, 511, 512, 513, 262144, 1ull << 30, (1ull << 44) - 1};
    enum { COUNT = sizeof indexes / sizeof indexes[0] };
    fake_memory_start();
    size_t before = page_free_bytes();
    struct page_tree tree = {0};
    uint64_t pages[COUNT];
    unsigned order = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        pages[i] = page_alloc(0);
        ck_assert_uint_eq(page_tree_find(&tree, indexes[i], &order), PHYSICAL_NONE);
        ck_assert_int_eq(page_tree_insert(&tree, indexes[i], 0, pages[i]), 0);
        ck_assert_int_eq(page_tree_insert(&tree, indexes[i], 0, pages[i]), -EEXIST);
    }
    for (unsigned i = 0; i < COUNT; i++)
        ck_assert_uint_eq(page_tree_find(&tree, indexes[i], &order), pages[i]);
    ck_assert_uint_eq(page_tree_find(&tree, 2, &order), PHYSICAL_NONE);
    ck_assert_int_eq(page_tree_insert(&tree, 1ull << 60, 0, 0x1000), -ENOMEM);
    page_tree_remove(&tree, 513, UINT64_MAX);
    ck_assert_uint_eq(page_tree_find(&tree, 512, &order), pages[3]);
    ck_assert_uint_eq(page_tree_find(&tree, 513, &order), PHYSICAL_NONE);
    ck_assert_uint_eq(page_tree_find(&tree, 1ull << 30, &order), PHYSICAL_NONE);
    page_tree_remove(&tree, 0, UINT64_MAX);
    ck_assert_uint_eq(page_free_bytes(), before);
}
END_TEST

// Memory for some of the nodes only: no empty ones are left, behind which the last page would not
// be seen.
START_TEST(tree_without_memory) {
    enum { LEFT = 3 };
    fake_memory_start();
    struct page_tree tree = {0};
    uint64_t page = page_alloc(0), spare[LEFT];
    ck_assert_int_eq(page_tree_insert(&tree, 5, 0, page), 0);
    ck_assert_int_eq(page_tree_insert(&tree, 1ull << 28, 0, page_alloc(0)), 0);
    for (unsigned i = 0; i < LEFT; i++)
        spare[i] = page_alloc(0);
    while (page_alloc(0) != PHYSICAL_NONE)
        ;
    for (unsigned i = 0; i < LEFT; i++) {
        ck_assert_int_eq(page_tree_insert(&tree, 1ull << 35, 0, 0x1000), -ENOMEM);
        ck_assert_uint_eq(page_tree_last(&tree), 1ull << 28);
        ck_assert_uint_eq(page_free_bytes(), i * PAGE_SIZE);
        page_put(spare[i]);
    }
}
END_TEST

// Far more pages apart than go at once, so that it takes several steps; what is left is the same.
START_TEST(a_file_gets_shorter_in_steps) {
    enum { COUNT = 40 };
    fake_memory_start();
    memory_object_put(shared_memory_create(false)); // its slab stays
    size_t before = page_free_bytes();
    srand(7);
    for (unsigned round = 0; round < 100; round++) {
        struct memory_object *object = shared_memory_create(false);
        uint64_t at[COUNT], limit = (uint64_t)(1 + rand() % 63) << 30;
        for (unsigned i = 0; i < COUNT; i++) {
            at[i] = ((uint64_t)rand() << 12 | 5) % (64ull << 30);
            ck_assert_int_eq(shared_memory_write(object, at[i], "x", 1), 1);
        }
        limit = rand() % 2 ? at[0] + (uint64_t)rand() % 2 : limit;
        ck_assert_int_eq(shared_memory_resize(object, limit), 0);
        ck_assert_int_eq(shared_memory_extend(object, 64ull << 30), 0);
        for (unsigned i = 0; i < COUNT; i++) {
            char byte;
            ck_assert_int_eq(shared_memory_read(object, at[i], &byte, 1), 1);
            ck_assert_int_eq(byte, at[i] < limit ? 'x' : 0);
        }
        ck_assert_int_eq(shared_memory_resize(object, 0), 0);
        memory_object_put(object);
        ck_assert_uint_eq(page_free_bytes(), before);
    }
}
END_TEST

START_TEST(tree_holds_blocks) {
    fake_memory_start();
    size_t before = page_free_bytes();
    struct page_tree tree = {0};
    unsigned order = 0;
    uint64_t block = page_alloc(PAGE_ORDER_2M), page = page_alloc(0);
    ck_assert_int_eq(page_tree_insert(&tree, 1024, PAGE_ORDER_2M, block), 0);
    ck_assert_int_eq(page_tree_insert(&tree, 1030, 0, page), -EEXIST);
    ck_assert_uint_eq(page_tree_find(&tree, 1030, &order), block + 6 * PAGE_SIZE);
    ck_assert_uint_eq(order, PAGE_ORDER_2M);
    ck_assert_int_eq(page_tree_insert(&tree, 3, 0, page), 0);
    ck_assert_int_eq(page_tree_insert(&tree, 0, PAGE_ORDER_2M, block), -EEXIST);
    page_tree_remove(&tree, 1030, UINT64_MAX); // begins before: stays
    ck_assert_uint_eq(page_tree_find(&tree, 1030, &order), block + 6 * PAGE_SIZE);
    page_tree_remove(&tree, 0, UINT64_MAX);
    ck_assert_uint_eq(page_free_bytes(), before);
}
END_TEST

// Pieces come out in any order; the nodes of the rest stay reachable.
START_TEST(tree_loses_pieces) {
    enum { PAGES = 3000 };
    fake_memory_start();
    page_put(page_alloc(0));
    size_t before = page_free_bytes();
    struct page_tree tree = {0};
    bool there[PAGES];
    unsigned order = 0;
    for (unsigned i = 0; i < PAGES; i++)
        there[i] = !page_tree_insert(&tree, i, 0, page_alloc(0));
    srand(5);
    for (unsigned round = 0; round < 200; round++) {
        unsigned first = (unsigned)rand() % PAGES, end = first + (unsigned)rand() % 200;
        if (round == 100)
            first = 512, end = PAGES;
        page_tree_remove(&tree, first, end);
        for (unsigned i = first; i < end && i < PAGES; i++)
            there[i] = false;
        for (unsigned i = 0; i < PAGES; i++)
            ck_assert_int_eq(page_tree_find(&tree, i, &order) != PHYSICAL_NONE, there[i]);
    }
    page_tree_drop(&tree);
    ck_assert_uint_eq(page_free_bytes(), before);
}
END_TEST

START_TEST(shared_memory_reads_what_was_written) {
    fake_memory_start();
    size_t before = page_free_bytes();
    for (unsigned huge = 0; huge < 2; huge++) {
        struct memory_object *object = shared_memory_create(huge);
        char text[10000], back[10000];
        for (size_t i = 0; i < sizeof text; i++)
            text[i] = (char)(i * 7 + 1);
        ck_assert_int_eq(shared_memory_write(object, 3000, text, sizeof text), sizeof text);
        ck_assert_int_eq(shared_memory_read(object, 3000, back, sizeof back), sizeof back);
        ck_assert_mem_eq(text, back, sizeof text);
        ck_assert_int_eq(shared_memory_read(object, 12000, back, sizeof back), 1000);
        ck_assert_int_eq(shared_memory_read(object, 13000, back, sizeof back), 0);
        ck_assert_int_eq(shared_memory_read(object, 0, back, 100), 100);
        ck_assert_int_eq(back[0] | back[99], 0);
        memory_object_put(object);
    }
    ck_assert_uint_ge(page_free_bytes() + 4 * PAGE_SIZE, before);
}
END_TEST

START_TEST(shared_memory_shrinks_and_grows_with_zeroes) {
    fake_memory_start();
    for (unsigned huge = 0; huge < 2; huge++) {
        struct memory_object *object = shared_memory_create(huge);
        char *data = malloc(4 << 20), *back = malloc(4 << 20);
        memset(data, 0x55, 4 << 20);
        ck_assert_int_eq(shared_memory_resize(object, 4 << 20), 0);
        ck_assert_int_eq(shared_memory_write(object, 0, data, 4 << 20), 4 << 20);
        ck_assert_int_eq(shared_memory_resize(object, 10000), 0);
        ck_assert_int_eq(shared_memory_resize(object, 4 << 20), 0);
        ck_assert_int_eq(shared_memory_read(object, 0, back, 4 << 20), 4 << 20);
        memset(data + 10000, 0, (4 << 20) - 10000);
        ck_assert_mem_eq(data, back, 4 << 20);
        ck_assert_int_eq(shared_memory_resize(object, UINT64_MAX), -EFBIG);
        ck_assert_int_eq(shared_memory_write(object, 1ull << 60, data, 1), -EFBIG);
        memory_object_put(object);
        free(data);
        free(back);
    }
}
END_TEST

START_TEST(shared_memory_pages) {
    fake_memory_start();
    struct memory_object *object = shared_memory_create(true);
    uint64_t physical, again;
    unsigned order = 0;
    ck_assert_int_eq(object->ops->page(object, 0, &physical, &order), -EFAULT);
    shared_memory_resize(object, (2 << 20) + 5000);
    ck_assert_int_eq(object->ops->page(object, 7, &physical, &order), 0);
    ck_assert_uint_eq(order, PAGE_ORDER_2M);
    ck_assert_uint_eq(physical & ((2 << 20) - 1), 7 * PAGE_SIZE);
    ck_assert_int_eq(object->ops->page(object, 7, &again, &order), 0);
    ck_assert_uint_eq(again, physical);
    // In a hole who has the block pinned and the file go on with the same one, zeroed.
    page_put(again);
    *(char *)page_to_virtual(physical) = 42;
    ck_assert_int_eq(shared_memory_punch(object, 0, 2 << 20), 0);
    ck_assert_int_eq(*(char *)page_to_virtual(physical), 0);
    ck_assert_int_eq(object->ops->page(object, 7, &again, &order), 0);
    ck_assert_uint_eq(again, physical);
    page_put(again);
    page_put(physical);
    ck_assert_uint_eq(page_references(physical), 1);
    ck_assert_int_eq(shared_memory_punch(object, 0, 2 << 20), 0);
    ck_assert_uint_eq(page_references(physical), 0);
    ck_assert_int_eq(object->ops->page(object, 513, &physical, &order),
                     0); // the end: no whole 2 MiB
    ck_assert_uint_eq(order, 0);
    ck_assert_int_eq(object->ops->page(object, 514, &physical, &order), -EFAULT);
    memory_object_put(object);
}
END_TEST

// 2 MiB where they are welcome; a hole in them frees its pages and leaves the rest.
START_TEST(holes_cut_blocks) {
    fake_memory_start();
    struct memory_object *object = shared_memory_create(false);
    uint64_t physical, held;
    unsigned order = PAGE_ORDER_2M;
    shared_memory_resize(object, 4 << 20);
    ck_assert_int_eq(object->ops->page(object, 7, &physical, &order), 0);
    ck_assert_uint_eq(order, PAGE_ORDER_2M);
    *(char *)page_to_virtual(physical) = 42;
    *((char *)page_to_virtual(physical) + 2 * PAGE_SIZE) = 43;
    size_t before = page_free_bytes();
    // Not while somebody has the block.
    ck_assert_int_eq(shared_memory_punch(object, 8 * PAGE_SIZE, PAGE_SIZE), 0);
    ck_assert_uint_eq(page_free_bytes(), before);
    page_put(physical);
    ck_assert_int_eq(shared_memory_punch(object, 8 * PAGE_SIZE, PAGE_SIZE), 0);
    before = page_free_bytes();
    ck_assert_int_eq(shared_memory_punch(object, 9 * PAGE_SIZE, 2 * PAGE_SIZE), 0);
    ck_assert_uint_eq(page_free_bytes(), before + 2 * PAGE_SIZE);
    ck_assert_int_eq(object->ops->page(object, 7, &held, &order), 0);
    ck_assert_uint_eq(order, 0);
    ck_assert_uint_eq(held, physical);
    ck_assert_int_eq(*(char *)page_to_virtual(held), 42);
    page_put(held);
    // A page alone where others of the block are, a block again where none is.
    order = PAGE_ORDER_2M;
    ck_assert_int_eq(object->ops->page(object, 9, &held, &order), 0);
    ck_assert_uint_eq(order, 0);
    ck_assert_int_eq(*(char *)page_to_virtual(held), 0);
    page_put(held);
    shared_memory_punch(object, 0, 2 << 20);
    order = PAGE_ORDER_2M;
    ck_assert_int_eq(object->ops->page(object, 9, &held, &order), 0);
    ck_assert_uint_eq(order, PAGE_ORDER_2M);
    page_put(held);
    // The end of the file in a block.
    shared_memory_resize(object, 5 * PAGE_SIZE);
    order = PAGE_ORDER_2M;
    ck_assert_int_eq(object->ops->page(object, 4, &held, &order), 0);
    ck_assert_uint_eq(order, 0);
    page_put(held);
    memory_object_put(object);
    // Small pages where memory is scarce.
    object = shared_memory_create(false);
    shared_memory_resize(object, 2 << 20);
    while (page_free_bytes() > page_total() / 2)
        page_alloc(PAGE_ORDER_2M);
    order = PAGE_ORDER_2M;
    ck_assert_int_eq(object->ops->page(object, 7, &physical, &order), 0);
    ck_assert_uint_eq(order, 0);
}
END_TEST

START_TEST(fixed_memory_is_shown_in_place_or_copied) {
    fake_memory_start();
    // Memory outside the allocator, as the initrd's.
    uint64_t base = page_alloc(3);
    char *data = page_to_virtual(base);
    for (size_t i = 0; i < 8 * PAGE_SIZE; i++)
        data[i] = (char)(i / 16 + i);
    size_t before = page_free_bytes();
    for (size_t shift = 0; shift < 8; shift += 4) {
        size_t size = 2 * PAGE_SIZE + 100;
        struct memory_object *object = fixed_memory_create(data + shift, size);
        uint64_t physical, again;
        unsigned order = 0;
        for (uint64_t index = 0; index < 3; index++) {
            ck_assert_int_eq(object->ops->page(object, index, &physical, &order), 0);
            size_t valid = index < 2 ? PAGE_SIZE : 100;
            ck_assert_mem_eq(page_to_virtual(physical), data + shift + index * PAGE_SIZE, valid);
            if (shift == 0 && index < 2)
                ck_assert_uint_eq(physical, base + index * PAGE_SIZE);
            ck_assert_int_eq(object->ops->page(object, index, &again, &order), 0);
            ck_assert_uint_eq(again, physical);
            page_put(physical);
            page_put(again);
        }
        const char *last = page_to_virtual(physical);
        for (size_t i = 100; i < PAGE_SIZE; i++)
            ck_assert_int_eq(last[i], 0);
        ck_assert_int_eq(object->ops->page(object, 3, &physical, &order), -EFAULT);
        memory_object_put(object);
    }
    ck_assert_uint_ge(page_free_bytes() + 4 * PAGE_SIZE, before);
}
END_TEST

START_TEST(kernel_pages_live_as_long_as_the_object) {
    fake_memory_start();
    uint64_t pages[2] = {page_alloc(0), page_alloc(0)}, physical;
    unsigned order = 0;
    struct memory_object *object = kernel_pages_create(pages, 2);
    page_put(pages[0]);
    page_put(pages[1]);
    ck_assert_uint_eq(page_references(pages[1]), 1);
    ck_assert_int_eq(object->ops->page(object, 1, &physical, &order), 0);
    ck_assert_uint_eq(physical, pages[1]);
    ck_assert_uint_eq(page_references(pages[1]), 2);
    page_put(physical);
    ck_assert_int_eq(object->ops->page(object, 2, &physical, &order), -EFAULT);
    memory_object_put(object);
    ck_assert_uint_eq(page_references(pages[1]), 0);
}
END_TEST

Suite *memory_object_suite(void);
Suite *memory_object_suite(void) {
    Suite *suite = suite_create("memory_object");
    TCase *tests = tcase_create("memory_object");
    tcase_add_test(tests, tree_finds_what_was_put_in);
    tcase_add_test(tests, tree_without_memory);
    tcase_add_test(tests, a_file_gets_shorter_in_steps);
    tcase_add_test(tests, tree_holds_blocks);
    tcase_add_test(tests, tree_loses_pieces);
    tcase_add_test(tests, shared_memory_reads_what_was_written);
    tcase_add_test(tests, shared_memory_shrinks_and_grows_with_zeroes);
    tcase_add_test(tests, shared_memory_pages);
    tcase_add_test(tests, holes_cut_blocks);
    tcase_add_test(tests, fixed_memory_is_shown_in_place_or_copied);
    tcase_add_test(tests, kernel_pages_live_as_long_as_the_object);
    suite_add_tcase(suite, tests);
    return suite;
}
