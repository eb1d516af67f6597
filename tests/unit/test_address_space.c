// SPDX-License-Identifier: BSD-2-Clause
// Address spaces: mappings, faults, copy on write, huge pages, and what listeners are told.
// Sources: tests/unit/fake_memory.c core/mm/page.c core/mm/heap.c core/mm/account.c
// Sources: core/mm/mapping.c core/mm/mapping_change.c core/mm/leaf_range.c
// Sources: core/mm/address_space_map.c core/mm/address_space_fault.c
// Sources: core/mm/address_space_protect.c core/mm/address_space_remap.c
// Sources: core/mm/address_space_fork.c core/mm/fixed_memory.c core/mm/page_tree.c
// Sources: core/mm/memory_object.c core/mm/shared_memory.c
// Sources: arch/x86/mm/page_walker.c arch/x86/mm/page_format.c
#include <asm/errno.h>
#include <check.h>
#include <linux/mman.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "arch/x86/paging.h"
#include "core/mm/address_space.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
enum { RW = PROT_READ | PROT_WRITE, PRIVATE = MAP_PRIVATE | MAP_ANONYMOUS };

static struct address_space *space;
static size_t free_at_start;

static void start(void) {
    fake_memory_start();
    free_at_start = page_free_bytes();
    fake_account = account_create(0, 0);
    space = address_space_create();
    ck_assert_ptr_nonnull(space);
    atomic_store(&space->cpus[0], 1);
}

// Everything is given back, but for one empty slab a size class.
static void finish(void) {
    address_space_put(space);
    ck_assert_uint_eq(fake_account->user.used, 0);
    ck_assert_uint_eq(page_user_bytes(), 0);
    ck_assert_uint_ge(page_free_bytes() + 16 * PAGE_SIZE, free_at_start);
}

static uint64_t map(uint64_t address, uint64_t size, int prot, int flags) {
    int64_t result = address_space_map(space, address, size, prot, flags, NULL, 0);
    ck_assert_int_ge(result, 0);
    return (uint64_t)result;
}

static int touch(uint64_t address, enum access access) {
    return address_space_fault(space, address, access);
}

// As the program would: through the page table, faulting where it must.
static void poke(uint64_t address, unsigned char value) {
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, address, ACCESS_WRITE, &page), 0);
    ck_assert(page.writable);
    ((unsigned char *)page_to_virtual(page.physical))[address & (page.size - 1)] = value;
}

static unsigned peek(uint64_t address) {
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, address, ACCESS_READ, &page), 0);
    return ((unsigned char *)page_to_virtual(page.physical))[address & (page.size - 1)];
}

static uint64_t size_at(uint64_t address) {
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, address, ACCESS_READ, &page), 0);
    ck_assert_uint_eq(page.physical & (page.size - 1), 0);
    return page.size;
}

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

START_TEST(private_file_pages_are_copied_on_write) {
    start();
    uint64_t base = page_alloc(2);
    char *data = page_to_virtual(base);
    memset(data, 'a', 4 * PAGE_SIZE);
    struct memory_object *file = fixed_memory_create(data, 3 * PAGE_SIZE);
    uint64_t at = (uint64_t)address_space_map(space, 0, 4 * PAGE_SIZE, RW, MAP_PRIVATE, file, 4096);
    memory_object_put(file);
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, at, ACCESS_READ, &page), 0);
    ck_assert_uint_eq(page.physical, base + 4096);
    ck_assert(!page.writable);
    unsigned flushes = fake_flush.count;
    poke(at, 'b');
    ck_assert_uint_gt(fake_flush.count, flushes); // the read-only translation had to go
    ck_assert_uint_eq(peek(at), 'b');
    ck_assert_uint_eq(peek(at + 1), 'a');
    ck_assert_int_eq(data[4096], 'a');
    poke(at + 4096, 'c'); // at once
    ck_assert_int_eq(data[8192], 'a');
    ck_assert_uint_eq(fake_account->user.used, 8 * KIB);
    ck_assert_int_eq(touch(at + 2 * 4096, ACCESS_READ), -ENXIO);
    ck_assert_int_eq(touch(at + 2 * 4096, ACCESS_WRITE), -ENXIO);
    ck_assert_int_eq(address_space_advise(space, at, 4096, MADV_DONTNEED), 0);
    ck_assert_uint_eq(peek(at), 'a');
    ck_assert_int_eq(address_space_protect(space, at, 8192, PROT_READ), 0);
    ck_assert_int_eq(address_space_protect(space, at, 8192, RW), 0);
    ck_assert_int_eq(address_space_page(space, at, ACCESS_READ, &page), 0);
    ck_assert(!page.writable); // the file's page again
    ck_assert_uint_eq(peek(at + 4096), 'c');
    finish();
}
END_TEST

static void *end_change(void *changed) {
    usleep(1000);
    spin_lock(&space->lock);
    space->changing = false;
    spin_unlock(&space->lock);
    return changed;
}

START_TEST(what_an_object_gives_up_goes_though_who_gives_it_up_was_killed) {
    start();
    uint64_t base = page_alloc(0);
    struct memory_object *file = fixed_memory_create(page_to_virtual(base), PAGE_SIZE);
    uint64_t at = (uint64_t)address_space_map(space, 0, PAGE_SIZE, RW, MAP_SHARED, file, 0);
    pthread_t other;
    poke(at, 'a');
    unsigned flushes = fake_flush.count;
    space->changing = true;
    fake_wait_result = -EINTR;
    ck_assert_int_eq(pthread_create(&other, NULL, end_change, NULL), 0);
    address_spaces_forget(file, 0, UINT64_MAX);
    fake_wait_result = 0;
    pthread_join(other, NULL);
    ck_assert_uint_gt(fake_flush.count, flushes);
    memory_object_put(file);
    finish();
}
END_TEST

START_TEST(file_mappings_split_and_join) {
    start();
    uint64_t base = page_alloc(3);
    char *data = page_to_virtual(base);
    for (unsigned i = 0; i < 8; i++)
        memset(data + i * PAGE_SIZE, 'a' + (int)i, PAGE_SIZE);
    struct memory_object *file = fixed_memory_create(data, 8 * PAGE_SIZE);
    uint64_t at = 0x10000000;
    ck_assert_int_eq(
        address_space_map(space, at, 6 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED, file, 4096),
        (int64_t)at);
    ck_assert_int_eq(address_space_protect(space, at + 8192, 8192, PROT_READ), 0);
    ck_assert_uint_eq(space->mappings.count, 3);
    ck_assert_uint_eq(peek(at + 8192), 'd');
    ck_assert_int_eq(address_space_protect(space, at + 8192, 8192, RW), 0);
    ck_assert_uint_eq(space->mappings.count, 1);
    ck_assert_int_eq(address_space_unmap(space, at, 4096), 0);
    for (unsigned i = 1; i < 6; i++)
        ck_assert_uint_eq(peek(at + i * 4096), 'b' + i);
    // Adjacent in memory but not in the file: two mappings.
    ck_assert_int_eq(
        address_space_map(space, at + 6 * 4096, 4096, RW, MAP_PRIVATE | MAP_FIXED, file, 0),
        (int64_t)(at + 6 * 4096));
    ck_assert_uint_eq(space->mappings.count, 2);
    ck_assert_uint_eq(peek(at + 6 * 4096), 'a');
    memory_object_put(file);
    finish();
}
END_TEST

START_TEST(shared_memory_is_one_in_all_mappings) {
    start();
    struct memory_object *object = shared_memory_create(true);
    shared_memory_resize(object, 4 * MIB);
    uint64_t a = (uint64_t)address_space_map(space, 0, 4 * MIB, RW, MAP_SHARED, object, 0);
    uint64_t b = (uint64_t)address_space_map(space, 0, MIB, RW, MAP_SHARED, object, 2 * MIB + 8192);
    uint64_t c =
        (uint64_t)address_space_map(space, 0, MIB, RW, MAP_PRIVATE, object, 2 * MIB + 8192);
    poke(b, 1);
    ck_assert_uint_eq(peek(a + 2 * MIB + 8192), 1);
    ck_assert_uint_eq(size_at(a + 2 * MIB), 2 * MIB);
    ck_assert_uint_eq(peek(c), 1);
    poke(c, 2);
    ck_assert_uint_eq(peek(b), 1);
    ck_assert_uint_eq(peek(c), 2);
    char byte = 9;
    ck_assert_int_eq(shared_memory_write(object, 2 * MIB + 8192, &byte, 1), 1);
    ck_assert_uint_eq(peek(a + 2 * MIB + 8192), 9);
    // Part of a huge page goes: the object still has the rest.
    ck_assert_int_eq(address_space_unmap(space, a + 3 * MIB, 4096), 0);
    ck_assert_uint_eq(peek(a + 2 * MIB + 8192), 9);
    ck_assert_uint_eq(size_at(a + 2 * MIB), 4 * KIB);
    memory_object_put(object); // the mappings keep it
    ck_assert_uint_eq(peek(b), 9);
    uint64_t d = map(0, 64 * KIB, RW, MAP_SHARED | MAP_ANONYMOUS);
    poke(d, 3);
    ck_assert_int_eq(address_space_advise(space, d, 64 * KIB, MADV_DONTNEED), 0);
    ck_assert_uint_eq(peek(d), 3);
    ck_assert_int_eq(address_space_advise(space, d, 64 * KIB, MADV_FREE), -EINVAL);
    finish();
}
END_TEST

START_TEST(a_hole_is_seen_in_all_mappings) {
    start();
    struct memory_object *object = shared_memory_create(true);
    shared_memory_resize(object, 6 * MIB);
    uint64_t a = (uint64_t)address_space_map(space, 0, 6 * MIB, RW, MAP_SHARED, object, 0);
    struct address_space *first = space, *other = address_space_create();
    space = other;
    uint64_t b = (uint64_t)address_space_map(space, 0, 64 * KIB, RW, MAP_PRIVATE, object, MIB);
    ck_assert_uint_eq(peek(b), 0);
    poke(b + 4096, 5); // its own copy stays
    space = first;
    for (uint64_t at = 0; at < 6 * MIB; at += 4096)
        poke(a + at, 1);
    uint64_t used = fake_account->user.used;
    // A block in the middle goes, and the pages of two others that are wholly inside.
    ck_assert_int_eq(shared_memory_punch(object, MIB + 1, 4 * MIB - 2), 0);
    ck_assert_uint_eq(fake_account->user.used, used - 2 * MIB - 2 * (MIB - 4096));
    for (uint64_t at = 0; at < 6 * MIB; at += 4096)
        ck_assert_uint_eq(peek(a + at), at <= MIB || at >= 5 * MIB);
    space = other;
    ck_assert_uint_eq(peek(b), 1);
    ck_assert_uint_eq(peek(b + 4096), 5);
    ck_assert_uint_eq(peek(b + 8192), 0);
    address_space_put(space);
    space = first;
    ck_assert_int_eq(address_space_advise(space, a, MIB, MADV_REMOVE), 0);
    ck_assert_uint_eq(peek(a), 0);
    ck_assert_uint_eq(peek(a + MIB), 1);
    // Beyond a new end there is nothing, mapped before or not.
    ck_assert_int_eq(shared_memory_resize(object, 5 * MIB), 0);
    ck_assert_int_eq(touch(a + 5 * MIB, ACCESS_READ), -ENXIO);
    ck_assert_int_eq(address_space_advise(space, a, 4096, MADV_NORMAL), 0);
    uint64_t private = map(0, 4096, RW, PRIVATE);
    ck_assert_int_eq(address_space_advise(space, private, 4096, MADV_REMOVE), -EACCES);
    memory_object_put(object);
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
    for (uintptr_t i = 0; i < 2; i++) {
        pthread_create(&faulting[i], NULL, race_faults, (void *)(i + 1));
        pthread_create(&changing[i], NULL, race_changes, (void *)(i + 10));
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(changing[i], NULL);
    atomic_store(&race_over, true);
    for (unsigned i = 0; i < 2; i++)
        pthread_join(faulting[i], NULL);
    ck_assert_uint_gt(race_hits, 0);
    finish(); // no page lost, none freed twice
}
END_TEST

// A few address spaces that fork from one another, each with what it should show.
START_TEST(forks_share_pages_until_one_writes) {
    enum { SPACES = 4, PAGES = 1024, ROUNDS = 3000 };
    const uint64_t base = 0x40000000;
    static struct {
        struct address_space *space;
        unsigned char content[PAGES];
    } all[SPACES];
    start();
    srand(11);
    map(base, PAGES * 4096ull, RW, PRIVATE | MAP_FIXED);
    all[0].space = space;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned self = (unsigned)rand() % SPACES, other = (unsigned)rand() % SPACES;
        unsigned page = (unsigned)rand() % PAGES, count = 1 + (unsigned)rand() % 64;
        uint64_t at = base + page * 4096ull;
        if (!all[self].space)
            continue;
        space = all[self].space;
        if (page + count > PAGES)
            count = PAGES - page;
        switch (rand() % 32) {
        case 0:
            if (self == other)
                break;
            if (all[other].space)
                address_space_put(all[other].space);
            all[other] = all[self];
            all[other].space = address_space_fork(space);
            ck_assert_ptr_nonnull(all[other].space);
            break;
        case 1:
            ck_assert_int_eq(address_space_advise(space, at, count * 4096ull, MADV_DONTNEED), 0);
            memset(all[self].content + page, 0, count);
            break;
        case 2:
            ck_assert_int_eq(address_space_protect(space, at, 4096, PROT_READ), 0);
            ck_assert_int_eq(touch(at, ACCESS_WRITE), -EFAULT);
            ck_assert_int_eq(address_space_protect(space, at, 4096, RW), 0);
            break;
        default:
            poke(at, all[self].content[page] = (unsigned char)rand());
        }
        ck_assert_uint_eq(peek(at), all[self].content[page]);
        unsigned probe = (unsigned)rand() % PAGES;
        ck_assert_uint_eq(peek(base + probe * 4096ull), all[self].content[probe]);
    }
    space = NULL;
    for (unsigned i = 0; i < SPACES; i++) {
        if (!all[i].space)
            continue;
        if (space)
            address_space_put(space);
        space = all[i].space;
    }
    for (unsigned i = 0; i < PAGES; i++) // the last one may write to all of them
        ck_assert_int_eq(touch(base + i * 4096ull, ACCESS_WRITE), 0);
    finish();
}
END_TEST

START_TEST(a_fork_follows_advice_and_keeps_huge_pages) {
    start();
    uint64_t huge = map(0, 8 * MIB, RW, PRIVATE), wiped = map(0, 4096, RW, PRIVATE);
    uint64_t parents = map(0, 4096, RW, PRIVATE),
             shared = map(0, 4096, RW, MAP_SHARED | MAP_ANONYMOUS);
    struct address_space *parent = space;
    ck_assert_int_eq(address_space_advise(space, wiped, 4096, MADV_WIPEONFORK), 0);
    ck_assert_int_eq(address_space_advise(space, parents, 4096, MADV_DONTFORK), 0);
    poke(huge, 1);
    poke(wiped, 2);
    poke(parents, 3);
    poke(shared, 4);
    uint64_t used = fake_account->user.used;
    unsigned flushes = fake_flush.count;
    space = address_space_fork(parent);
    ck_assert_uint_gt(fake_flush.count, flushes); // others must not go on writing
    ck_assert_uint_eq(fake_account->user.used, used);
    ck_assert_uint_eq(size_at(huge), 2 * MIB);
    ck_assert_uint_eq(peek(huge), 1);
    ck_assert_uint_eq(peek(wiped), 0);
    ck_assert_int_eq(touch(parents, ACCESS_READ), -EFAULT);
    ck_assert_uint_eq(peek(shared), 4);
    poke(shared, 5);
    address_space_put(space);
    space = parent;
    ck_assert_uint_eq(peek(shared), 5);
    poke(huge + 4096, 6); // alone again: no copy
    ck_assert_uint_eq(size_at(huge), 2 * MIB);
    ck_assert_uint_eq(fake_account->user.used, used);
    finish();
}
END_TEST

Suite *address_space_suite(void);
Suite *address_space_suite(void) {
    Suite *suite = suite_create("address_space");
    TCase *tests = tcase_create("address_space");
    tcase_set_timeout(tests, 60);
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
    tcase_add_test(tests, private_file_pages_are_copied_on_write);
    tcase_add_test(tests, what_an_object_gives_up_goes_though_who_gives_it_up_was_killed);
    tcase_add_test(tests, file_mappings_split_and_join);
    tcase_add_test(tests, faults_race_with_changes);
    tcase_add_test(tests, shared_memory_is_one_in_all_mappings);
    tcase_add_test(tests, a_hole_is_seen_in_all_mappings);
    tcase_add_test(tests, listeners_hear_before_pages_are_freed);
    tcase_add_test(tests, remap_grows_shrinks_and_moves);
    tcase_add_test(tests, remap_moves_huge_pages);
    tcase_add_test(tests, brk_grows_and_shrinks);
    tcase_add_test(tests, populate_makes_pages_present);
    tcase_add_test(tests, forks_share_pages_until_one_writes);
    tcase_add_test(tests, a_fork_follows_advice_and_keeps_huge_pages);
    suite_add_tcase(suite, tests);
    return suite;
}
