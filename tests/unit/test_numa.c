// SPDX-License-Identifier: BSD-2-Clause
// NUMA nodes: distances, and pages from the node that is asked for.
// Sources: tests/unit/fake_memory.c core/mm/heap.c arch/x86/mm/page_walker.c
// Sources: arch/x86/mm/page_format.c core/mm/page.c
#include <check.h>
#include <linux/mempolicy.h>
#include "core/mm/numa.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

enum { MIB = 1 << 20, BORDER = 24 * MIB + 3 * PAGE_SIZE };

// Node 0 below BORDER, 2 up to 40 MiB, 1 above.
static void three_nodes(void) {
    fake_memory_start();
    numa_add_memory(0, 0, BORDER);
    numa_add_memory(2, BORDER, 40 * MIB - BORDER);
    numa_add_memory(1, 40 * MIB, 24 * MIB);
    page_sort_nodes();
}

static unsigned node_of(uint64_t physical) {
    return numa_node_of(physical, NULL);
}

START_TEST(the_nearest_first) {
    three_nodes();
    ck_assert_uint_eq(numa_nodes(), 3);
    numa_set_distance(0, 1, 31);
    numa_set_distance(0, 2, 21);
    numa_set_distance(0, 2, 255); // unreachable: not taken
    ck_assert_uint_eq(numa_distance(0, 0), NUMA_LOCAL);
    ck_assert_uint_eq(numa_distance(2, 1), NUMA_REMOTE);
    ck_assert_uint_eq(numa_nearest(0, 0), 0);
    ck_assert_uint_eq(numa_nearest(0, 1), 2);
    ck_assert_uint_eq(numa_nearest(0, 2), 1);
    ck_assert_uint_eq(numa_nearest(1, 1), 2); // alike: the next number
    ck_assert_uint_eq(numa_node_bytes(1), 24 * MIB);
}
END_TEST

START_TEST(sorting_keeps_every_page) {
    three_nodes();
    size_t before = page_total();
    ck_assert_uint_eq(page_free_bytes(), before);
    ck_assert_uint_eq(page_node_free_bytes(1), 24 * MIB);
    ck_assert_uint_eq(page_node_free_bytes(2), 40 * MIB - BORDER);
    ck_assert_uint_eq(page_node_free_bytes(0) + page_node_free_bytes(1) + page_node_free_bytes(2),
                      before);
}
END_TEST

START_TEST(pages_come_from_where_they_are_wanted) {
    three_nodes();
    size_t before = page_free_bytes();
    fake_place = (struct numa_place){2, UINT32_MAX};
    uint64_t page[(40 * MIB - BORDER) / PAGE_SIZE + 1];
    size_t count = (40 * MIB - BORDER) / PAGE_SIZE;
    for (size_t i = 0; i < count; i++) {
        page[i] = page_alloc_for(0, PAGE_ANONYMOUS);
        ck_assert_uint_eq(node_of(page[i]), 2);
    }
    page[count] = page_alloc_for(0, PAGE_ANONYMOUS); // full: the next one
    ck_assert_uint_eq(node_of(page[count]), 0);
    fake_place.allowed = 1 << 2;
    ck_assert_uint_eq(page_alloc_for(0, PAGE_ANONYMOUS), PHYSICAL_NONE);
    uint64_t kernel = page_alloc(0); // bound is what is the program's own
    ck_assert_uint_ne(kernel, PHYSICAL_NONE);
    page_put(kernel);
    for (size_t i = 0; i <= count; i++)
        page_put(page[i]);
    ck_assert_uint_eq(page_free_bytes(), before);
    ck_assert_uint_eq(page_node_free_bytes(2), 40 * MIB - BORDER);
}
END_TEST

START_TEST(blocks_do_not_span_nodes) {
    three_nodes();
    fake_place = (struct numa_place){0, 1};
    for (uint64_t block; (block = page_alloc_for(2, PAGE_SHARED)) != PHYSICAL_NONE;)
        ck_assert_uint_eq(node_of(block + 3 * PAGE_SIZE), 0);
}
END_TEST

START_TEST(policies) {
    struct numa_policy policy = {MPOL_BIND, 6};
    ck_assert_uint_eq(numa_policy_place(policy, 0, 2).first, 2);
    ck_assert_uint_eq(numa_policy_place(policy, 0, 2).allowed, 6);
    policy.mode = MPOL_PREFERRED;
    ck_assert_uint_eq(numa_policy_place(policy, 0, 2).first, 1);
    ck_assert_uint_eq(numa_policy_place(policy, 0, 2).allowed, UINT32_MAX);
    policy.mode = MPOL_INTERLEAVE;
    policy.nodes = 0xb;
    static const unsigned turn[] = {0, 1, 3, 0, 1};
    for (unsigned i = 0; i < 5; i++)
        ck_assert_uint_eq(numa_policy_place(policy, i, 2).first, turn[i]);
    policy.mode = MPOL_PREFERRED_MANY;
    ck_assert_uint_eq(numa_policy_place(policy, 0, 3).first, 3);
    ck_assert_uint_eq(numa_policy_place(policy, 0, 2).first, 0);
    ck_assert_uint_eq(numa_policy_place((struct numa_policy){0}, 5, 2).first, 2);
}
END_TEST

Suite *numa_suite(void);

Suite *numa_suite(void) {
    Suite *suite = suite_create("numa");
    TCase *test = tcase_create("numa");
    tcase_add_test(test, the_nearest_first);
    tcase_add_test(test, sorting_keeps_every_page);
    tcase_add_test(test, pages_come_from_where_they_are_wanted);
    tcase_add_test(test, blocks_do_not_span_nodes);
    tcase_add_test(test, policies);
    suite_add_tcase(suite, test);
    return suite;
}
