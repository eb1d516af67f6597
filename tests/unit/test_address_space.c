// SPDX-License-Identifier: BSD-2-Clause
// Address spaces: mappings, faults, huge pages, races, and what listeners are told.
#include <asm/errno.h>
#include <check.h>
#include <linux/mman.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/address_space_fixture.h"

START_TEST(anonymous_memory_is_zero_and_keeps_what_is_written) {
    start();
    uint64_t at = map(0, 64 * KIB, RW, PRIVATE);
    ck_assert_uint_le(at + 64 * KIB, space->map_top);
    ck_assert_uint_eq(fake_account->user.used, 0);
    ck_assert_uint_eq(peek(at + 5000), 0);
    poke(at + 5000, 7);
    ck_assert_uint_eq(peek(at + 5000), 7);
    ck_assert_uint_eq(fake_account->user.used, 4 * KIB);
    ck_assert_int_eq(touch(at + 64 * KIB, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(touch(at - 1, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(touch(at, ACCESS_EXECUTE), -EFAULT);
    ck_assert(address_space_is_mapped(space, at));
    ck_assert(!address_space_is_mapped(space, at - 1));
    ck_assert_int_eq(touch(USER_END, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(touch(UINT64_MAX, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(address_space_unmap(space, at, 64 * KIB), 0);
    ck_assert_uint_eq(fake_account->user.used, 0);
    ck_assert_int_eq(touch(at, ACCESS_READ), -EFAULT);
    finish();
}
END_TEST

START_TEST(arguments_are_checked_as_linux_does) {
    start();
    struct {
        uint64_t address, size;
        int flags;
        int64_t result;
    } cases[] = {
        {0, 0, PRIVATE, -EINVAL},
        {0, 4096, MAP_ANONYMOUS, -EINVAL},
        {0, UINT64_MAX, PRIVATE, -ENOMEM},
        {0, USER_END, PRIVATE, -ENOMEM},
        {0, 2 * MIB, PRIVATE | MAP_HUGETLB, -ENOMEM},
        {0x100001, 4096, PRIVATE | MAP_FIXED, -EINVAL},
        {0, 4096, PRIVATE | MAP_FIXED, -EPERM},
        {USER_END, 4096, PRIVATE | MAP_FIXED, -ENOMEM},
        {USER_END - 4096, 4096, PRIVATE | MAP_FIXED, (int64_t)(USER_END - 4096)},
        {0x100000, 1, PRIVATE | MAP_FIXED_NOREPLACE, 0x100000},
        {0x100000, 1, PRIVATE | MAP_FIXED_NOREPLACE, -EEXIST},
        {0x200123, 4096, PRIVATE, 0x200000},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
        ck_assert_int_eq(
            address_space_map(space, cases[i].address, cases[i].size, RW, cases[i].flags, NULL, 0),
            cases[i].result);
    ck_assert_int_eq(address_space_unmap(space, 0x100001, 4096), -EINVAL);
    ck_assert_int_eq(address_space_unmap(space, 0x100000, 0), -EINVAL);
    ck_assert_int_eq(address_space_unmap(space, USER_END, 4096), -EINVAL);
    ck_assert_int_eq(address_space_unmap(space, 0x900000, 4096), 0);
    ck_assert_int_eq(address_space_protect(space, 0x100000, 8192, RW), -ENOMEM);
    ck_assert_int_eq(address_space_protect(space, 0x100000, 4096, 0x100), -EINVAL);
    ck_assert_int_eq(address_space_advise(space, 0x100000, 4096, 12345), -EINVAL);
    ck_assert_int_eq(address_space_advise(space, 0x100000, 8192, MADV_DONTNEED), -ENOMEM);
    ck_assert_int_eq(address_space_advise(space, 0x100000, 4096, MADV_MERGEABLE), 0);
    finish();
}
END_TEST

START_TEST(mappings_split_and_join) {
    start();
    uint64_t at = map(0x10000000, 64 * KIB, RW, PRIVATE);
    for (unsigned i = 0; i < 16; i++)
        poke(at + i * 4096, (unsigned char)(i + 1));
    ck_assert_int_eq(address_space_unmap(space, at + 4 * 4096, 2 * 4096), 0);
    ck_assert_uint_eq(space->mappings.count, 2);
    ck_assert_int_eq(touch(at + 4 * 4096, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(touch(at + 5 * 4096, ACCESS_READ), -EFAULT);
    ck_assert_uint_eq(peek(at + 3 * 4096), 4);
    ck_assert_uint_eq(peek(at + 6 * 4096), 7);
    map(at + 4 * 4096, 2 * 4096, RW, PRIVATE | MAP_FIXED);
    ck_assert_uint_eq(space->mappings.count, 1);
    ck_assert_uint_eq(peek(at + 4 * 4096), 0);
    ck_assert_int_eq(address_space_protect(space, at + 4096, 4096, PROT_READ), 0);
    ck_assert_uint_eq(space->mappings.count, 3);
    ck_assert_int_eq(touch(at + 4096, ACCESS_WRITE), -EFAULT);
    ck_assert_uint_eq(peek(at + 4096), 2);
    ck_assert_int_eq(address_space_protect(space, at + 4096, 4096, RW), 0);
    ck_assert_uint_eq(space->mappings.count, 1);
    poke(at + 4096, 9);
    ck_assert_int_eq(address_space_protect(space, at, 64 * KIB, PROT_NONE), 0);
    ck_assert_int_eq(touch(at, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(address_space_protect(space, at, 64 * KIB, PROT_READ), 0);
    ck_assert_uint_eq(peek(at + 4096), 9); // the content came through PROT_NONE
    finish();
}
END_TEST

START_TEST(many_mappings) {
    enum { COUNT = 5000 };
    start();
    uint64_t at = map(0, 2 * COUNT * 4096, PROT_NONE, PRIVATE | MAP_STACK);
    for (uint64_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(
            address_space_protect(space, at + (i * 3571 % COUNT) * 2 * 4096, 4096, PROT_READ), 0);
    ck_assert_uint_eq(space->mappings.count, 2 * COUNT);
    ck_assert_int_le(space->mappings.root->height, 18);
    for (uint64_t i = 0; i < 2 * COUNT; i += 97)
        ck_assert_int_eq(touch(at + i * 4096, ACCESS_READ), i % 2 ? -EFAULT : 0);
    for (uint64_t i = 0; i < COUNT; i += 2)
        ck_assert_int_eq(address_space_unmap(space, at + i * 2 * 4096, 4096), 0);
    ck_assert_uint_eq(space->mappings.count, 2 * COUNT - COUNT / 2);
    // The highest free page below the top is found among them.
    uint64_t found = map(0, 4096, PROT_READ, PRIVATE);
    ck_assert(found == at + (COUNT - 2) * 2 * 4096 || found >= at + 2 * COUNT * 4096);
    ck_assert_int_eq(address_space_unmap(space, at, 2 * COUNT * 4096), 0);
    ck_assert_uint_le(space->mappings.count, 1);
    finish();
}
END_TEST

// What the tree must agree with: one byte a page.
START_TEST(random_changes_agree_with_a_page_map) {
    enum { PAGES = 256, ROUNDS = 4000 };
    const uint64_t base = 0x40000000;
    unsigned char prot[PAGES], content[PAGES];
    memset(prot, 0xff, sizeof prot); // 0xff: not mapped
    memset(content, 0, sizeof content);
    start();
    srand(7);
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned first = (unsigned)rand() % PAGES, count = 1 + (unsigned)rand() % 24;
        if (first + count > PAGES)
            count = PAGES - first;
        uint64_t at = base + first * 4096ull, size = count * 4096ull;
        bool whole = true;
        for (unsigned i = first; i < first + count; i++)
            whole = whole && prot[i] != 0xff;
        int wanted = rand() % 2 ? RW : PROT_READ;
        switch (rand() % 5) {
        case 0:
            map(at, size, wanted, PRIVATE | MAP_FIXED);
            memset(prot + first, wanted, count);
            memset(content + first, 0, count);
            break;
        case 1:
            ck_assert_int_eq(address_space_unmap(space, at, size), 0);
            memset(prot + first, 0xff, count);
            memset(content + first, 0, count);
            break;
        case 2:
            ck_assert_int_eq(address_space_protect(space, at, size, wanted), whole ? 0 : -ENOMEM);
            if (whole)
                memset(prot + first, wanted, count);
            break;
        case 3:
            ck_assert_int_eq(address_space_advise(space, at, size, MADV_DONTNEED),
                             whole ? 0 : -ENOMEM);
            memset(content + first, 0, count);
            break;
        default:
            for (unsigned i = first; i < first + count; i++)
                if (prot[i] == RW)
                    poke(base + i * 4096ull, content[i] = (unsigned char)rand());
        }
        for (unsigned n = 0; n < 8; n++) {
            unsigned i = (unsigned)rand() % PAGES;
            ck_assert_int_eq(touch(base + i * 4096ull, ACCESS_WRITE), prot[i] == RW ? 0 : -EFAULT);
            if (prot[i] != 0xff)
                ck_assert_uint_eq(peek(base + i * 4096ull), content[i]);
            else
                ck_assert_int_eq(touch(base + i * 4096ull, ACCESS_READ), -EFAULT);
        }
        unsigned runs = 0;
        for (unsigned i = 0; i < PAGES; i++)
            runs += prot[i] != 0xff && (i == 0 || prot[i] != prot[i - 1]);
        ck_assert_uint_eq(space->mappings.count, runs);
    }
    finish();
}
END_TEST

START_TEST(large_mappings_get_huge_pages) {
    start();
    uint64_t at = map(0, 8 * MIB, RW, PRIVATE);
    ck_assert_uint_eq(at % (2 * MIB), 0);
    poke(at + 3 * MIB, 5);
    ck_assert_uint_eq(size_at(at + 2 * MIB), 2 * MIB);
    ck_assert_uint_eq(fake_account->user.used, 2 * MIB);
    ck_assert_uint_eq(size_at(map(0, 3 * MIB, RW, PRIVATE | MAP_32BIT)), 4 * KIB);
    uint64_t stack = map(0, 8 * MIB, RW, PRIVATE | MAP_STACK);
    ck_assert_uint_eq(size_at(stack + 4 * MIB), 4 * KIB);
    ck_assert_int_eq(address_space_advise(space, at + 4 * MIB, 2 * MIB, MADV_NOHUGEPAGE), 0);
    ck_assert_uint_eq(size_at(at + 4 * MIB), 4 * KIB);
    finish();
}
END_TEST

START_TEST(a_huge_page_is_split_by_partial_changes) {
    start();
    uint64_t at = map(0, 8 * MIB, RW, PRIVATE);
    poke(at, 1);
    poke(at + MIB, 2);
    poke(at + 2 * MIB - 1, 3);
    ck_assert_int_eq(address_space_unmap(space, at + MIB, 4 * KIB), 0);
    ck_assert_uint_eq(fake_account->user.used, 2 * MIB - 4 * KIB);
    ck_assert_uint_eq(size_at(at), 4 * KIB);
    ck_assert_uint_eq(peek(at), 1);
    ck_assert_uint_eq(peek(at + 2 * MIB - 1), 3);
    ck_assert_int_eq(touch(at + MIB, ACCESS_READ), -EFAULT);
    poke(at + 2 * MIB + 5, 4);
    ck_assert_int_eq(address_space_advise(space, at + 2 * MIB, 64 * KIB, MADV_DONTNEED), 0);
    ck_assert_uint_eq(peek(at + 2 * MIB + 5), 0);
    finish();
}
END_TEST

START_TEST(huge_pages_come_back) {
    start();
    uint64_t at = map(0, 8 * MIB, RW, PRIVATE);
    ck_assert_int_eq(address_space_advise(space, at, 8 * MIB, MADV_NOHUGEPAGE), 0);
    for (uint64_t i = 0; i < 2048; i++)
        poke(at + i * 4 * KIB, 1);
    ck_assert_int_eq(address_space_unmap(space, at, 8 * MIB), 0);
    ck_assert_uint_eq(map(at, 8 * MIB, RW, PRIVATE | MAP_FIXED), at);
    ck_assert_uint_eq(size_at(at + 3 * MIB), 2 * MIB);
    // Also when a table empties page by page.
    ck_assert_int_eq(address_space_unmap(space, at + 2 * MIB, 4 * KIB), 0);
    for (uint64_t i = 1; i < 512; i++)
        ck_assert_int_eq(
            address_space_advise(space, at + 2 * MIB + i * 4 * KIB, 4 * KIB, MADV_DONTNEED), 0);
    ck_assert_int_eq(address_space_unmap(space, at, 8 * MIB), 0);
    ck_assert_uint_eq(map(at, 8 * MIB, RW, PRIVATE | MAP_FIXED), at);
    ck_assert_uint_eq(size_at(at + 3 * MIB), 2 * MIB);
    // And where small pages were moved away.
    ck_assert_int_eq(address_space_advise(space, at + 4 * MIB, 2 * MIB, MADV_NOHUGEPAGE), 0);
    poke(at + 4 * MIB, 7);
    int64_t moved = address_space_remap(space, at + 4 * MIB, 2 * MIB, 2 * MIB,
                                        MREMAP_MAYMOVE | MREMAP_FIXED, 0x10000000);
    ck_assert_int_eq(moved, 0x10000000);
    ck_assert_uint_eq(peek(0x10000000), 7);
    map(at, 8 * MIB, RW, PRIVATE | MAP_FIXED);
    ck_assert_uint_eq(size_at(at + 4 * MIB), 2 * MIB);
    finish();
}
END_TEST

START_TEST(no_access_keeps_the_page) {
    start();
    uint64_t at = map(0, 8 * KIB, RW, PRIVATE);
    poke(at, 9);
    unsigned flushes = fake_flush.count;
    ck_assert_int_eq(address_space_protect(space, at, 8 * KIB, PROT_NONE), 0);
    ck_assert_uint_gt(fake_flush.count, flushes);
    ck_assert_uint_eq(page_table_lookup(space->page_table, at).flags, PAGING_NO_ACCESS);
    ck_assert_int_eq(touch(at, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(touch(at + 4 * KIB, ACCESS_READ), -EFAULT);
    ck_assert(address_space_is_mapped(space, at + 4 * KIB)); // SEGV_ACCERR
    ck_assert_int_eq(address_space_protect(space, at, 8 * KIB, PROT_READ), 0);
    ck_assert_uint_eq(peek(at), 9);
    finish();
}
END_TEST

START_TEST(small_pages_when_there_are_no_huge_ones) {
    start();
    uint64_t at = map(0, 8 * MIB, RW, PRIVATE);
    uint64_t held = PHYSICAL_NONE, block;
    while ((block = page_alloc(PAGE_ORDER_2M)) != PHYSICAL_NONE) {
        page_split(block, PAGE_ORDER_2M);
        held = block;
    }
    for (unsigned i = 0; i < 512; i += 2) // free, but nowhere two together
        page_put(held + i * PAGE_SIZE);
    poke(at, 1);
    ck_assert_uint_eq(size_at(at), 4 * KIB);
    ck_assert_uint_eq(fake_account->user.used, 4 * KIB);
    while (page_alloc(0) != PHYSICAL_NONE)
        continue;
    ck_assert_int_eq(touch(at + 4 * KIB, ACCESS_WRITE), -ENOMEM);
    ck_assert_uint_eq(fake_account->user.used, 4 * KIB);
}
END_TEST

START_TEST(an_account_limits_pages) {
    start();
    fake_account->user.limit = 3 * MIB;
    uint64_t at = map(0, 8 * MIB, RW, PRIVATE);
    ck_assert_int_eq(touch(at, ACCESS_WRITE), 0);
    for (uint64_t page = 0; page < 256; page++)
        ck_assert_int_eq(touch(at + 2 * MIB + page * 4096, ACCESS_WRITE), 0);
    ck_assert_int_eq(touch(at + 3 * MIB, ACCESS_WRITE), -ENOMEM);
    finish();
}
END_TEST

struct witness {
    struct address_space_listener listener;
    unsigned calls;
    uint64_t start, end, page;
    bool page_was_alive;
};

static void witness_invalidate(struct address_space_listener *listener, uint64_t from,
                               uint64_t to) {
    struct witness *witness = container_of(listener, struct witness, listener);
    witness->calls++;
    witness->start = from;
    witness->end = to;
    witness->page_was_alive = page_references(witness->page) > 0;
}

START_TEST(listeners_hear_before_pages_are_freed) {
    start();
    struct witness witness = {.listener.invalidate = witness_invalidate};
    address_space_listen(space, &witness.listener);
    uint64_t at = map(0, 64 * KIB, RW, PRIVATE);
    struct user_page page;
    address_space_page(space, at + 4096, ACCESS_WRITE, &page);
    witness.page = page.physical;
    ck_assert_uint_eq(witness.calls, 0);
    ck_assert_int_eq(address_space_protect(space, at, 64 * KIB, PROT_READ | PROT_WRITE | PROT_EXEC),
                     0);
    ck_assert_uint_eq(witness.calls, 0); // only more rights
    ck_assert_int_eq(address_space_protect(space, at, 64 * KIB, PROT_READ), 0);
    ck_assert_uint_eq(witness.calls, 1);
    ck_assert_int_eq(address_space_unmap(space, at, 64 * KIB), 0);
    ck_assert_uint_eq(witness.calls, 2);
    ck_assert(witness.page_was_alive);
    ck_assert_uint_le(witness.start, at + 4096);
    ck_assert_uint_ge(witness.end, at + 8192);
    ck_assert_uint_eq(page_references(page.physical), 0);
    ck_assert_uint_ge(fake_flush.count, 2);
    address_space_unlisten(space, &witness.listener);
    at = map(0, 4096, RW, PRIVATE);
    poke(at, 1);
    address_space_unmap(space, at, 4096);
    ck_assert_uint_eq(witness.calls, 2);
    finish();
}
END_TEST

START_TEST(remap_grows_shrinks_and_moves) {
    start();
    uint64_t at = map(0x10000000, 64 * KIB, RW, PRIVATE);
    poke(at, 1);
    poke(at + 60 * KIB, 2);
    ck_assert_int_eq(address_space_remap(space, at, 64 * KIB, 128 * KIB, 0, 0), (int64_t)at);
    poke(at + 127 * KIB, 3);
    map(at + 128 * KIB, 4096, PROT_READ, PRIVATE | MAP_FIXED);
    ck_assert_int_eq(address_space_remap(space, at, 128 * KIB, 256 * KIB, 0, 0), -ENOMEM);
    int64_t moved = address_space_remap(space, at, 128 * KIB, 256 * KIB, MREMAP_MAYMOVE, 0);
    ck_assert_int_gt(moved, 0);
    ck_assert_uint_eq(peek((uint64_t)moved), 1);
    ck_assert_uint_eq(peek((uint64_t)moved + 60 * KIB), 2);
    ck_assert_uint_eq(peek((uint64_t)moved + 127 * KIB), 3);
    ck_assert_uint_eq(peek((uint64_t)moved + 255 * KIB), 0);
    ck_assert_int_eq(touch(at, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(address_space_remap(space, (uint64_t)moved, 256 * KIB, 64 * KIB, 0, 0), moved);
    ck_assert_int_eq(touch((uint64_t)moved + 64 * KIB, ACCESS_READ), -EFAULT);
    uint64_t to = 0x20003000;
    ck_assert_int_eq(address_space_remap(space, (uint64_t)moved, 64 * KIB, 32 * KIB,
                                         MREMAP_MAYMOVE | MREMAP_FIXED, to),
                     (int64_t)to);
    ck_assert_uint_eq(peek(to), 1);
    ck_assert_int_eq(touch(to + 32 * KIB, ACCESS_READ), -EFAULT);
    ck_assert_int_eq(address_space_remap(space, 0x70000000, 4096, 8192, MREMAP_MAYMOVE, 0),
                     -EFAULT);
    ck_assert_int_eq(address_space_remap(space, to, 32 * KIB, 0, 0, 0), -EINVAL);
    ck_assert_int_eq(address_space_remap(space, to, 32 * KIB, 32 * KIB,
                                         MREMAP_MAYMOVE | MREMAP_FIXED, to + 4096),
                     -EINVAL);
    finish();
}
END_TEST

START_TEST(remap_moves_huge_pages) {
    start();
    uint64_t at = map(0, 8 * MIB, RW, PRIVATE);
    poke(at + 3 * MIB, 1);
    map(at - 4096, 4096, PROT_READ, PRIVATE | MAP_FIXED);
    map(at + 8 * MIB, 4096, PROT_READ, PRIVATE | MAP_FIXED);
    uint64_t moved = (uint64_t)address_space_remap(space, at, 8 * MIB, 16 * MIB, MREMAP_MAYMOVE, 0);
    ck_assert_uint_eq(size_at(moved + 3 * MIB), 2 * MIB);
    ck_assert_uint_eq(peek(moved + 3 * MIB), 1);
    uint64_t odd = 0x20001000; // not aligned alike: small pages
    ck_assert_int_eq(
        address_space_remap(space, moved, 16 * MIB, 16 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, odd),
        (int64_t)odd);
    ck_assert_uint_eq(size_at(odd + 3 * MIB), 4 * KIB);
    ck_assert_uint_eq(peek(odd + 3 * MIB), 1);
    ck_assert_uint_eq(fake_account->user.used, 2 * MIB);
    finish();
}
END_TEST

START_TEST(brk_grows_and_shrinks) {
    start();
    space->brk_start = space->brk_end = 0x500800;
    ck_assert_uint_eq(address_space_brk(space, 0), 0x500800);
    ck_assert_uint_eq(address_space_brk(space, 0x510000), 0x510000);
    poke(0x50ffff, 1);
    ck_assert_int_eq(touch(0x510000, ACCESS_READ), -EFAULT);
    ck_assert_uint_eq(address_space_brk(space, 0x520001), 0x520001);
    ck_assert_uint_eq(space->mappings.count, 1);
    poke(0x520fff, 2);
    ck_assert_uint_eq(address_space_brk(space, 0x508000), 0x508000);
    ck_assert_int_eq(touch(0x50ffff, ACCESS_READ), -EFAULT);
    map(0x600000, 4096, RW, PRIVATE | MAP_FIXED);
    ck_assert_uint_eq(address_space_brk(space, 0x700000), 0x508000);
    ck_assert_uint_eq(address_space_brk(space, UINT64_MAX), 0x508000);
    finish();
}
END_TEST

START_TEST(populate_makes_pages_present) {
    start();
    uint64_t at = map(0, 256 * KIB, RW, PRIVATE);
    ck_assert_int_eq(address_space_advise(space, at, 256 * KIB, MADV_POPULATE_WRITE), 0);
    ck_assert_uint_eq(fake_account->user.used, 256 * KIB);
    ck_assert_int_eq(address_space_protect(space, at, 4096, PROT_READ), 0);
    ck_assert_int_eq(address_space_advise(space, at, 4096, MADV_POPULATE_WRITE), -EFAULT);
    finish();
}
END_TEST

enum { RACE_SIZE = 16 << 20, RACE_ROUNDS = 600 };
static const uint64_t race_base = 0x40000000;
static atomic_bool race_over;
static atomic_uint race_hits;

static void *race_faults(void *seed) {
    unsigned state = (unsigned)(uintptr_t)seed;
    while (!atomic_load(&race_over)) {
        uint64_t address = race_base + (uint64_t)rand_r(&state) % RACE_SIZE;
        int error = touch(address, rand_r(&state) % 2 ? ACCESS_WRITE : ACCESS_READ);
        if (error && error != -EFAULT && error != -ENOMEM)
            abort();
        atomic_fetch_add(&race_hits, !error);
    }
    return NULL;
}

static void *race_changes(void *seed) {
    unsigned state = (unsigned)(uintptr_t)seed;
    struct address_space *forked;
    for (unsigned round = 0; round < RACE_ROUNDS; round++) {
        uint64_t at = race_base + (uint64_t)rand_r(&state) % RACE_SIZE / 4096 * 4096;
        uint64_t size = ((uint64_t)rand_r(&state) % (6 << 20) / 4096 + 1) * 4096;
        switch (rand_r(&state) % 6) {
        case 0:
            address_space_unmap(space, at, size);
            break;
        case 1:
            address_space_protect(space, at, size, rand_r(&state) % 2 ? PROT_READ : RW);
            break;
        case 2:
            address_space_advise(space, at, size, MADV_DONTNEED);
            break;
        case 3:
            address_space_remap(space, at, 64 * KIB, 96 * KIB, MREMAP_MAYMOVE, 0);
            break;
        case 4:
            forked = round % 16 ? NULL : address_space_fork(space);
            if (forked)
                address_space_put(forked);
            break;
        default:
            address_space_map(space, at, size, RW, PRIVATE | MAP_FIXED, NULL, 0);
        }
    }
    return NULL;
}

START_TEST(faults_race_with_changes) {
    start();
    map(race_base, RACE_SIZE, RW, PRIVATE | MAP_FIXED);
    pthread_t faulting[2], changing[2];
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&faulting[i], NULL, race_faults, (void *)(i + 1));
    while (!race_hits) // a busy host may not run them before all changes are over
        sched_yield();
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&changing[i], NULL, race_changes, (void *)(i + 10));
    for (unsigned i = 0; i < 2; i++)
        pthread_join(changing[i], NULL);
    atomic_store(&race_over, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(faulting[i], NULL);
    ck_assert_uint_gt(race_hits, 0);
    finish(); // no page lost, none freed twice
}
END_TEST

Suite *address_space_suite(void);
Suite *address_space_suite(void) {
    Suite *suite = suite_create("address_space");
    TCase *tests = tcase_create("address_space");
    tcase_add_test(tests, anonymous_memory_is_zero_and_keeps_what_is_written);
    tcase_add_test(tests, arguments_are_checked_as_linux_does);
    tcase_add_test(tests, mappings_split_and_join);
    tcase_add_test(tests, many_mappings);
    tcase_add_test(tests, random_changes_agree_with_a_page_map);
    tcase_add_test(tests, large_mappings_get_huge_pages);
    tcase_add_test(tests, a_huge_page_is_split_by_partial_changes);
    tcase_add_test(tests, small_pages_when_there_are_no_huge_ones);
    tcase_add_test(tests, huge_pages_come_back);
    tcase_add_test(tests, no_access_keeps_the_page);
    tcase_add_test(tests, an_account_limits_pages);
    tcase_add_test(tests, faults_race_with_changes);
    tcase_add_test(tests, listeners_hear_before_pages_are_freed);
    tcase_add_test(tests, remap_grows_shrinks_and_moves);
    tcase_add_test(tests, remap_moves_huge_pages);
    tcase_add_test(tests, brk_grows_and_shrinks);
    tcase_add_test(tests, populate_makes_pages_present);
    suite_add_tcase(suite, tests);
    return suite;
}
