// SPDX-License-Identifier: BSD-2-Clause
// An address space whose pages are counted, used as a program would.
// Sources: tests/unit/fake_memory.c core/mm/page.c core/mm/heap.c core/mm/account.c
// Sources: core/mm/mapping.c core/mm/mapping_change.c core/mm/leaf_range.c
// Sources: core/mm/address_space_map.c core/mm/address_space_fault.c
// Sources: core/mm/address_space_protect.c core/mm/address_space_remap.c
// Sources: core/mm/address_space_fork.c core/mm/fixed_memory.c core/mm/page_tree.c
// Sources: core/mm/memory_object.c core/mm/shared_memory.c
// Sources: arch/x86/mm/page_walker.c arch/x86/mm/page_format.c
#pragma once
#include <check.h>
#include <linux/mman.h>
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

static inline void start(void) {
    fake_memory_start();
    free_at_start = page_free_bytes();
    fake_account = account_create(0, 0);
    space = address_space_create();
    ck_assert_ptr_nonnull(space);
    atomic_store(&space->cpus[0], 1);
}

// Everything is given back, but for one empty slab a size class.
static inline void finish(void) {
    address_space_put(space);
    ck_assert_uint_eq(fake_account->user.used, 0);
    ck_assert_uint_eq(page_user_bytes(), 0);
    ck_assert_uint_ge(page_free_bytes() + 16 * PAGE_SIZE, free_at_start);
}

static inline uint64_t map(uint64_t address, uint64_t size, int prot, int flags) {
    int64_t result = address_space_map(space, address, size, prot, flags, NULL, 0);
    ck_assert_int_ge(result, 0);
    return (uint64_t)result;
}

static inline int touch(uint64_t address, enum access access) {
    return address_space_fault(space, address, access);
}

// As the program would: through the page table, faulting where it must.
static inline void poke(uint64_t address, unsigned char value) {
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, address, ACCESS_WRITE, &page), 0);
    ck_assert(page.writable);
    ((unsigned char *)page_to_virtual(page.physical))[address & (page.size - 1)] = value;
}

static inline unsigned peek(uint64_t address) {
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, address, ACCESS_READ, &page), 0);
    return ((unsigned char *)page_to_virtual(page.physical))[address & (page.size - 1)];
}

static inline uint64_t size_at(uint64_t address) {
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, address, ACCESS_READ, &page), 0);
    ck_assert_uint_eq(page.physical & (page.size - 1), 0);
    return page.size;
}
