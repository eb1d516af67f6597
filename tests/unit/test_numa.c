// SPDX-License-Identifier: BSD-2-Clause
// NUMA nodes: distances, and pages from the node that is asked for.
// Sources: tests/unit/fake_memory.c core/mm/heap.c arch/x86/mm/page_walker.c
// Sources: arch/x86/mm/page_format.c core/mm/page.c core/mm/address_space_policy.c
#include <asm/errno.h>
#include <check.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include "core/mm/address_space.h"
#include "core/mm/memory_object.h"
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

static unsigned char *byte_at(struct address_space *space, uint64_t address, enum access access) {
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, address, access, &page), 0);
    return (unsigned char *)page_to_virtual(page.physical) + (address & (page.size - 1));
}

static unsigned place_of(struct address_space *space, uint64_t address) {
    return node_of(virtual_to_page(byte_at(space, address, ACCESS_READ)));
}

// mbind with MPOL_MF_MOVE: private pages and those of an object, large and small.
START_TEST(pages_move) {
    three_nodes();
    enum { MOVE = MPOL_MF_MOVE | MPOL_MF_STRICT, SIZE = 6 * MIB, STEP = 64 << 10 };
    const struct numa_policy policy = {MPOL_BIND, 1 << 1}, back = {MPOL_BIND, 1 << 2};
    struct memory_object *object = shared_memory_create(false);
    struct address_space *space = address_space_create();
    shared_memory_resize(object, SIZE);
    for (unsigned shared = 0; shared < 2; shared++) {
        fake_place = (struct numa_place){2, UINT32_MAX};
        uint64_t free = page_free_bytes(), pinned;
        uint64_t at = (uint64_t)address_space_map(space, 0, SIZE, PROT_READ | PROT_WRITE,
                                                  shared ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS,
                                                  shared ? object : NULL, 0);
        address_space_advise(space, at, 3 * MIB, MADV_HUGEPAGE);
        address_space_advise(space, at + 3 * MIB, 3 * MIB, MADV_NOHUGEPAGE);
        for (uint64_t i = 0; i < SIZE; i += STEP)
            *byte_at(space, at + i, ACCESS_WRITE) = (unsigned char)(i / STEP);
        ck_assert_uint_eq(place_of(space, at + MIB), 2);
        ck_assert_int_eq(address_space_bind(space, at, at + SIZE, policy, MPOL_MF_STRICT), -EIO);
        fake_place = (struct numa_place){1, policy.nodes};
        ck_assert_int_eq(address_space_bind(space, at, at + SIZE, policy, MOVE), 0);
        for (uint64_t i = 0; i < SIZE; i += STEP) {
            ck_assert_uint_eq(*byte_at(space, at + i, ACCESS_READ), (unsigned char)(i / STEP));
            ck_assert_uint_eq(place_of(space, at + i), 1);
            *byte_at(space, at + i, ACCESS_WRITE) = 7;
        }
        // What a device has stays, and is not lost.
        ck_assert_int_eq(address_space_pin(space, at + 5 * MIB, ACCESS_WRITE, &pinned), 0);
        fake_place = (struct numa_place){2, back.nodes};
        ck_assert_int_eq(address_space_bind(space, at, at + SIZE, back, MOVE), -EIO);
        ck_assert_uint_eq(place_of(space, at), 2);
        ck_assert_uint_eq(place_of(space, at + 5 * MIB), 1);
        *byte_at(space, at + 5 * MIB, ACCESS_WRITE) = 8;
        ck_assert_uint_eq(*(unsigned char *)page_to_virtual(pinned), 8);
        page_put(pinned);
        ck_assert_int_eq(address_space_bind(space, at, at + SIZE, back, MPOL_MF_MOVE), 0);
        ck_assert_uint_eq(place_of(space, at + 5 * MIB), 2);
        address_space_unmap(space, at, SIZE);
        if (shared)
            memory_object_put(object);
        ck_assert_uint_ge(page_free_bytes() + 16 * PAGE_SIZE, free);
    }
    address_space_put(space);
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
    tcase_add_test(test, pages_move);
    suite_add_tcase(suite, test);
    return suite;
}
