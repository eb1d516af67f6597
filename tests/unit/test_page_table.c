// SPDX-License-Identifier: BSD-2-Clause
// The page-table walker and its formats.
// Sources: arch/x86/mm/page_walker.c arch/x86/mm/page_format.c tests/unit/fake_memory.c
// Sources: core/mm/page.c core/mm/heap.c
#include <asm/errno.h>
#include <check.h>
#include <stdlib.h>
#include "arch/x86/mm/page_walker.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

#define SIZE_2M (1ull << 21)
#define SIZE_1G (1ull << 30)

static struct page_format ept_1g; // ept_format with the largest pages the processor can have

enum { CPU_FORMATS = 3, FORMATS = 5 }; // IOMMUs' know neither execution nor marks
static const struct page_format *const formats[FORMATS] = {&host_format, &ept_1g, &npt_format,
                                                           &vtd_format, &amd_vi_format};

static uint64_t fresh_root(const struct page_format *format) {
    fake_memory_start();
    return page_walker_create(format);
}

// What the hardware would read: the entry of a level, from the manuals and not through the walker.
static uint64_t raw_entry(uint64_t root, uint64_t address, unsigned levels_down) {
    uint64_t table = root;
    for (unsigned level = 0;; level++) {
        uint64_t *entries = page_to_virtual(table & 0x000ffffffffff000ull);
        uint64_t entry = entries[address >> (39 - 9 * level) & 511];
        if (level == levels_down)
            return entry;
        table = entry;
    }
}

START_TEST(maps_and_finds_every_size) {
    const struct page_format *format = formats[_i];
    uint64_t root = fresh_root(format);
    static const struct {
        uint64_t address, physical, size;
    } cases[] = {{0x7fffffffe000, 0x123000, PAGE_SIZE},
                 {0x400000, 0x40000000, SIZE_2M},
                 {0x8000000000, 0xc0000000, SIZE_1G}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ck_assert_int_eq(page_walker_map(format, root, cases[i].address, cases[i].physical,
                                         cases[i].size, PAGING_WRITE),
                         0);
        struct page_table_entry entry =
            page_walker_lookup(format, root, cases[i].address + cases[i].size - 1);
        ck_assert_uint_eq(entry.physical, cases[i].physical);
        ck_assert_uint_eq(entry.size, cases[i].size);
        ck_assert_uint_eq(entry.flags & (PAGING_WRITE | PAGING_EXECUTE), PAGING_WRITE);
        ck_assert(!entry.accessed && !entry.dirty);
    }
}
END_TEST

START_TEST(host_entries_are_as_the_manual_says) {
    uint64_t root = fresh_root(&host_format);
    page_walker_map(&host_format, root, 0x1000, 0x5000, PAGE_SIZE, PAGING_USER | PAGING_WRITE);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 3), 1ull << 63 | 0x5007);
    page_walker_map(&host_format, root, 0x2000, 0x6000, PAGE_SIZE, PAGING_EXECUTE);
    ck_assert_uint_eq(raw_entry(root, 0x2000, 3), 0x6001);
    page_walker_map(&host_format, root, 0x200000, 0x400000, SIZE_2M,
                    PAGING_WRITE | PAGING_UNCACHED);
    ck_assert_uint_eq(raw_entry(root, 0x200000, 2), 1ull << 63 | 0x40009b);
    page_walker_map(&host_format, root, 0x3000, 0x7000, PAGE_SIZE,
                    PAGING_WRITE | PAGING_WRITE_COMBINING);
    ck_assert_uint_eq(raw_entry(root, 0x3000, 3), 1ull << 63 | 0x700b);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 0) & 0xfff, 0x7);
}
END_TEST

START_TEST(ept_entries_are_as_the_manual_says) {
    uint64_t root = fresh_root(&ept_format);
    page_walker_map(&ept_format, root, 0x1000, 0x5000, PAGE_SIZE, PAGING_WRITE | PAGING_EXECUTE);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 3), 0x5037);
    page_walker_map(&ept_format, root, 0x200000, 0x400000, SIZE_2M, 0);
    ck_assert_uint_eq(raw_entry(root, 0x200000, 2), 0x4000b1);
    page_walker_map(&ept_format, root, 0x2000, 0xfee00000, PAGE_SIZE,
                    PAGING_WRITE | PAGING_UNCACHED);
    ck_assert_uint_eq(raw_entry(root, 0x2000, 3), 0xfee00003);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 0) & 0xfff, 0x7);
    ck_assert(!page_walker_allows(&ept_format, SIZE_1G));
}
END_TEST

START_TEST(npt_entries_have_the_user_bit) {
    uint64_t root = fresh_root(&npt_format);
    page_walker_map(&npt_format, root, 0x1000, 0x5000, PAGE_SIZE, PAGING_WRITE | PAGING_EXECUTE);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 3), 0x5007);
}
END_TEST

START_TEST(vtd_entries_are_as_the_manual_says) {
    uint64_t root = fresh_root(&vtd_format);
    page_walker_map(&vtd_format, root, 0x1000, 0x5000, PAGE_SIZE, PAGING_WRITE);
    page_walker_map(&vtd_format, root, 0x2000, 0x6000, PAGE_SIZE, 0);
    page_walker_map(&vtd_format, root, 0x200000, 0x400000, SIZE_2M, PAGING_WRITE);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 3), 0x5003);
    ck_assert_uint_eq(raw_entry(root, 0x2000, 3), 0x6001);
    ck_assert_uint_eq(raw_entry(root, 0x200000, 2), 0x400083);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 0) & 0xfff, 0x3);
}
END_TEST

START_TEST(amd_vi_entries_name_the_next_level) {
    const struct page_format *format = &amd_vi_format;
    uint64_t root = fresh_root(format), rights = 7ull << 60;
    page_walker_map(format, root, 0x1000, 0x5000, PAGE_SIZE, PAGING_WRITE);
    page_walker_map(format, root, 0x2000, 0x6000, PAGE_SIZE, 0);
    page_walker_map(format, root, 0x200000, 0x400000, SIZE_2M, PAGING_WRITE);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 3), rights | 0x5001);
    ck_assert_uint_eq(raw_entry(root, 0x2000, 3), (3ull << 60) | 0x6001);
    ck_assert_uint_eq(raw_entry(root, 0x200000, 2), rights | 0x400001);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(raw_entry(root, 0x1000, i) >> 9 & 7, 3 - i);
    ck_assert_uint_eq(raw_entry(root, 0x1000, 0) >> 60, 6);
    ck_assert_int_eq(page_walker_split(format, root, 0x200000), 0);
    ck_assert_uint_eq(raw_entry(root, 0x200000, 2) >> 9 & 7, 1);
    ck_assert_uint_eq(raw_entry(root, 0x201000, 3), rights | 0x401001);
}
END_TEST

START_TEST(three_levels_are_a_tree_of_their_own) {
    struct page_format format = vtd_format;
    format.levels = 3;
    format.flush = true;
    uint64_t root = fresh_root(&format), unhooked = 0;
    page_put(page_alloc(0));
    size_t before = page_free_bytes();
    ck_assert_int_eq(page_walker_map(&format, root, SIZE_1G, 0x5000, PAGE_SIZE, 0), 0);
    ck_assert_uint_eq(before - page_free_bytes(), 2 * PAGE_SIZE);
    ck_assert_uint_eq(((uint64_t *)page_to_virtual(root))[1] & 0xfff, 3);
    ck_assert_uint_eq(page_walker_lookup(&format, root, SIZE_1G).physical, 0x5000);
    ck_assert(page_walker_zap(&format, root, 0, SIZE_1G * 512, &unhooked));
    page_walker_release(unhooked);
    ck_assert_uint_eq(page_free_bytes(), before);
    page_walker_map(&format, root, SIZE_1G * 511, 0, SIZE_1G, 0);
    page_walker_destroy(&format, root);
    ck_assert_uint_eq(page_free_bytes(), before + PAGE_SIZE);
}
END_TEST

START_TEST(holes_can_be_skipped) {
    uint64_t root = fresh_root(&host_format); // eight entries are a cache line
    ck_assert_uint_eq(page_walker_lookup(&host_format, root, 0x1000).hole_size,
                      (8ull << 39) - 0x1000);
    page_walker_map(&host_format, root, 0x1000, 0x5000, PAGE_SIZE, 0);
    ck_assert_uint_eq(page_walker_lookup(&host_format, root, 0x2000).hole_size, 6 * PAGE_SIZE);
    page_walker_map(&host_format, root, 0x6000, 0x5000, PAGE_SIZE, 0);
    ck_assert_uint_eq(page_walker_lookup(&host_format, root, 0x2000).hole_size, 4 * PAGE_SIZE);
    ck_assert_uint_eq(page_walker_lookup(&host_format, root, SIZE_2M + 0x3000).hole_size,
                      7 * SIZE_2M - 0x3000);
    ck_assert_uint_eq(page_walker_lookup(&host_format, root, SIZE_1G).hole_size, 7 * SIZE_1G);
}
END_TEST

START_TEST(other_sizes_are_in_the_way) {
    uint64_t root = fresh_root(&host_format);
    ck_assert_int_eq(page_walker_map(&host_format, root, SIZE_2M, 0, SIZE_2M, 0), 0);
    ck_assert_int_eq(page_walker_map(&host_format, root, SIZE_2M + PAGE_SIZE, 0, PAGE_SIZE, 0),
                     -EEXIST);
    ck_assert_int_eq(page_walker_map(&host_format, root, 0, 0, PAGE_SIZE, 0), 0);
    ck_assert_int_eq(page_walker_map(&host_format, root, 0, 0, SIZE_2M, 0), -EEXIST);
    ck_assert_int_eq(page_walker_map(&host_format, root, SIZE_2M, 0x400000, SIZE_2M, 0), 0);
    ck_assert_uint_eq(page_walker_lookup(&host_format, root, SIZE_2M).physical, 0x400000);
}
END_TEST

START_TEST(unmap_returns_what_was_there) {
    const struct page_format *format = formats[_i];
    uint64_t root = fresh_root(format);
    page_walker_map(format, root, 0x1000, 0x5000, PAGE_SIZE, PAGING_WRITE);
    uint64_t *leaf = page_to_virtual(raw_entry(root, 0x1000, 2) & 0x000ffffffffff000ull);
    leaf[1] |= format->dirty | format->accessed; // as the CPU does
    struct page_table_entry was = page_walker_unmap(format, root, 0x1000);
    ck_assert_uint_eq(was.physical, 0x5000);
    ck_assert(was.dirty && was.accessed);
    ck_assert_uint_eq(page_walker_lookup(format, root, 0x1000).size, 0);
    was = page_walker_unmap(format, root, 0x1000);
    ck_assert_uint_eq(was.size, 0);
    ck_assert_uint_eq(was.hole_size, 7 * PAGE_SIZE);
}
END_TEST

START_TEST(split_keeps_place_and_rights) {
    const struct page_format *format = formats[_i];
    uint64_t root = fresh_root(format);
    page_walker_map(format, root, SIZE_1G, SIZE_1G, SIZE_1G, PAGING_EXECUTE);
    ck_assert_int_eq(page_walker_split(format, root, SIZE_1G + 5 * SIZE_2M), 0);
    struct page_table_entry entry = page_walker_lookup(format, root, SIZE_1G + 5 * SIZE_2M);
    ck_assert_uint_eq(entry.size, SIZE_2M);
    ck_assert_uint_eq(entry.physical, SIZE_1G + 5 * SIZE_2M);
    ck_assert_int_eq(page_walker_split(format, root, SIZE_1G + 5 * SIZE_2M), 0);
    entry = page_walker_lookup(format, root, SIZE_1G + 5 * SIZE_2M + 511 * PAGE_SIZE);
    ck_assert_uint_eq(entry.size, PAGE_SIZE);
    ck_assert_uint_eq(entry.physical, SIZE_1G + 6 * SIZE_2M - PAGE_SIZE);
    ck_assert_uint_eq(entry.flags & (PAGING_WRITE | PAGING_EXECUTE), PAGING_EXECUTE);
    ck_assert_uint_eq(page_walker_lookup(format, root, SIZE_1G + 6 * SIZE_2M).size, SIZE_2M);
    // A page that is no large leaf stays as it is.
    ck_assert_int_eq(page_walker_split(format, root, SIZE_1G + 5 * SIZE_2M), 0);
}
END_TEST

START_TEST(protect_keeps_the_marks) {
    const struct page_format *format = formats[_i];
    uint64_t root = fresh_root(format);
    page_walker_map(format, root, 0x1000, 0x5000, PAGE_SIZE, PAGING_WRITE);
    uint64_t *leaf = page_to_virtual(raw_entry(root, 0x1000, 2) & 0x000ffffffffff000ull);
    leaf[1] |= format->dirty;
    ck_assert(page_walker_protect(format, root, 0x1000, PAGING_EXECUTE));
    struct page_table_entry entry = page_walker_lookup(format, root, 0x1000);
    ck_assert_uint_eq(entry.flags & (PAGING_WRITE | PAGING_EXECUTE), PAGING_EXECUTE);
    ck_assert(entry.dirty && !entry.accessed);
    ck_assert(page_walker_clear_marks(format, root, 0x1000, false, true).dirty);
    ck_assert(!page_walker_lookup(format, root, 0x1000).dirty);
    ck_assert(!page_walker_protect(format, root, 0x2000, PAGING_EXECUTE));
}
END_TEST

START_TEST(zap_takes_what_it_touches) {
    const struct page_format *format = formats[_i];
    uint64_t root = fresh_root(format);
    page_walker_map(format, root, SIZE_2M, SIZE_2M, SIZE_2M, 0);
    page_walker_map(format, root, 2 * SIZE_2M, 0x5000, PAGE_SIZE, 0);
    page_walker_map(format, root, 2 * SIZE_2M + PAGE_SIZE, 0x6000, PAGE_SIZE, 0);
    uint64_t unhooked = 0;
    ck_assert(page_walker_zap(format, root, SIZE_2M + PAGE_SIZE, SIZE_2M, &unhooked));
    ck_assert_uint_eq(page_walker_lookup(format, root, SIZE_2M).size, 0);
    ck_assert_uint_eq(page_walker_lookup(format, root, 2 * SIZE_2M).size, 0);
    ck_assert_uint_eq(page_walker_lookup(format, root, 2 * SIZE_2M + PAGE_SIZE).size, PAGE_SIZE);
    page_walker_release(unhooked);
    unhooked = 0;
    ck_assert(!page_walker_zap(format, root, 0, 2 * SIZE_2M + PAGE_SIZE, &unhooked));
    ck_assert(!page_walker_zap(format, root, 1ull << 46, 1ull << 46, &unhooked));
    ck_assert_uint_eq(unhooked, 0);
}
END_TEST

START_TEST(empty_tables_make_room_for_large_leaves) {
    const struct page_format *format = formats[_i];
    uint64_t root = fresh_root(format), unhooked = 0;
    page_put(page_alloc(0));
    size_t before = page_free_bytes();
    page_walker_map(format, root, SIZE_1G, 0x5000, PAGE_SIZE, 0);
    page_walker_map(format, root, SIZE_1G + 7 * PAGE_SIZE, 0x6000, PAGE_SIZE, 0);
    ck_assert(page_walker_zap(format, root, SIZE_1G, PAGE_SIZE, &unhooked));
    ck_assert_uint_eq(unhooked, 0); // a leaf is left
    ck_assert_int_eq(page_walker_map(format, root, SIZE_1G, 0, SIZE_2M, 0), -EEXIST);
    uint64_t table = raw_entry(root, SIZE_1G, 2) & 0x000ffffffffff000ull;
    ck_assert(page_walker_zap(format, root, SIZE_1G + 7 * PAGE_SIZE, PAGE_SIZE, &unhooked));
    // The whole branch is empty. A CPU that still knows the table must find nothing in it.
    ck_assert_uint_ne(unhooked, 0);
    const uint64_t *entries = page_to_virtual(table);
    for (unsigned i = 0; i < 512; i++)
        ck_assert_uint_eq(entries[i] & format->present, 0);
    ck_assert_uint_eq(page_references(table), 1);
    page_walker_release(unhooked);
    ck_assert_uint_eq(page_free_bytes(), before);
    ck_assert_int_eq(page_walker_map(format, root, SIZE_1G, SIZE_1G, SIZE_1G, 0), 0);
}
END_TEST

START_TEST(prune_spares_what_is_in_use_or_outside) {
    const struct page_format *format = formats[_i];
    uint64_t root = fresh_root(format), unhooked = 0;
    for (uint64_t i = 0; i < 4; i++)
        page_walker_map(format, root, i * SIZE_2M, 0x5000, PAGE_SIZE, 0);
    page_walker_map(format, root, 1ull << 45, 0x5000, PAGE_SIZE, 0);
    for (uint64_t i = 0; i < 3; i++)
        page_walker_unmap(format, root, i * SIZE_2M);
    page_walker_prune(format, root, SIZE_2M, PAGE_SIZE, &unhooked);
    ck_assert_int_eq(page_walker_map(format, root, 0, 0, SIZE_2M, 0), -EEXIST);
    ck_assert_int_eq(page_walker_map(format, root, SIZE_2M, 0, SIZE_2M, 0), 0);
    page_walker_prune(format, root, 0, 1ull << 46, &unhooked);
    ck_assert_int_eq(page_walker_map(format, root, 2 * SIZE_2M, 0, SIZE_2M, 0), 0);
    ck_assert_uint_eq(page_walker_lookup(format, root, 3 * SIZE_2M).size, PAGE_SIZE);
    ck_assert_uint_eq(page_walker_lookup(format, root, SIZE_2M).size, SIZE_2M);
    ck_assert_uint_eq(page_walker_lookup(format, root, 1ull << 45).size, PAGE_SIZE);
    page_walker_release(unhooked);
}
END_TEST

START_TEST(leaves_without_access_are_absent_to_the_cpu) {
    uint64_t root = fresh_root(&host_format);
    page_walker_map(&host_format, root, SIZE_2M, SIZE_2M, SIZE_2M, PAGING_USER | PAGING_WRITE);
    ck_assert(page_walker_protect(&host_format, root, SIZE_2M, PAGING_NO_ACCESS));
    ck_assert_uint_eq(raw_entry(root, SIZE_2M, 2) & 1, 0);
    struct page_table_entry entry = page_walker_lookup(&host_format, root, SIZE_2M);
    ck_assert_uint_eq(entry.physical, SIZE_2M);
    ck_assert_uint_eq(entry.size, SIZE_2M);
    ck_assert_uint_eq(entry.flags, PAGING_NO_ACCESS);
    ck_assert_int_eq(page_walker_split(&host_format, root, SIZE_2M), 0);
    entry = page_walker_lookup(&host_format, root, SIZE_2M + PAGE_SIZE);
    ck_assert_uint_eq(entry.physical, SIZE_2M + PAGE_SIZE);
    ck_assert_uint_eq(entry.flags, PAGING_NO_ACCESS);
    ck_assert_uint_eq(raw_entry(root, SIZE_2M + PAGE_SIZE, 3) & 1, 0);
    page_walker_protect(&host_format, root, SIZE_2M + PAGE_SIZE, PAGING_USER | PAGING_WRITE);
    ck_assert_uint_eq(raw_entry(root, SIZE_2M + PAGE_SIZE, 3) & 7, 7);
    ck_assert_uint_eq(page_walker_unmap(&host_format, root, SIZE_2M).physical, SIZE_2M);
}
END_TEST

START_TEST(tables_are_given_back) {
    fake_memory_start();
    page_put(page_alloc(0)); // whatever the allocator keeps on first use
    size_t before = page_free_bytes();
    uint64_t root = page_walker_create(&host_format);
    for (unsigned i = 0; i < 100; i++)
        page_walker_map(&host_format, root, (uint64_t)i << 31, 0x5000, PAGE_SIZE, 0);
    page_walker_map(&host_format, root, 1ull << 45, 0, SIZE_1G, 0);
    ck_assert_uint_lt(page_free_bytes(), before);
    page_walker_destroy(&host_format, root);
    ck_assert_uint_eq(page_free_bytes(), before);
}
END_TEST

Suite *page_table_suite(void);
Suite *page_table_suite(void) {
    ept_1g = ept_format;
    ept_1g.largest = SIZE_1G;
    Suite *suite = suite_create("page_table");
    TCase *tests = tcase_create("walker");
    int count = CPU_FORMATS;
    tcase_add_loop_test(tests, maps_and_finds_every_size, 0, count);
    tcase_add_loop_test(tests, unmap_returns_what_was_there, 0, count);
    tcase_add_loop_test(tests, split_keeps_place_and_rights, 0, count);
    tcase_add_loop_test(tests, protect_keeps_the_marks, 0, count);
    count = FORMATS;
    tcase_add_loop_test(tests, zap_takes_what_it_touches, 0, count);
    tcase_add_loop_test(tests, empty_tables_make_room_for_large_leaves, 0, count);
    tcase_add_loop_test(tests, prune_spares_what_is_in_use_or_outside, 0, count);
    tcase_add_test(tests, leaves_without_access_are_absent_to_the_cpu);
    tcase_add_test(tests, host_entries_are_as_the_manual_says);
    tcase_add_test(tests, ept_entries_are_as_the_manual_says);
    tcase_add_test(tests, npt_entries_have_the_user_bit);
    tcase_add_test(tests, vtd_entries_are_as_the_manual_says);
    tcase_add_test(tests, amd_vi_entries_name_the_next_level);
    tcase_add_test(tests, three_levels_are_a_tree_of_their_own);
    tcase_add_test(tests, holes_can_be_skipped);
    tcase_add_test(tests, other_sizes_are_in_the_way);
    tcase_add_test(tests, tables_are_given_back);
    suite_add_tcase(suite, tests);
    return suite;
}
