// SPDX-License-Identifier: BSD-2-Clause
// Physical pages: a buddy allocator over all RAM, with a reference count a page. Pure code: the
// unit tests run it on a fake RAM of their own; page_to_virtual is direct map in the kernel, an
// offset in tests.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include "core/mm/account.h"
#include "core/mm/numa.h"

#define PAGE_SHIFT    12
#define PAGE_SIZE     4096ul
#define PAGE_MASK     (~(PAGE_SIZE - 1))
#define PAGE_ORDER_2M 9
#define PAGE_ORDER_1G 18
#define PHYSICAL_NONE UINT64_MAX

// Called once: ranges of free RAM are added; the page array itself is carved from the first big
// enough.
void page_init(uint64_t highest_physical, uint64_t array_physical);
size_t page_array_size(uint64_t highest_physical); // bytes
void page_add_free(uint64_t base, uint64_t size);
// The nodes are known now (numa.h): each gets the free memory that is its own. Once.
void page_sort_nodes(void);

// 2^order contiguous, naturally aligned pages with reference count 1 each as one block; physical
// address or PHYSICAL_NONE.
// All are charged to account_of_caller(), and refused when its limit is reached. A program with a
// limit does not get the last of RAM either: what the rest of the system needs to go on
// (page_reserve).
uint64_t page_alloc(unsigned order);
uint64_t page_alloc_zeroed(unsigned order);
// What a block is for: kernel memory, a page of a memory object, or private memory of one address
// space.
enum page_use { PAGE_KERNEL = 2, PAGE_SHARED, PAGE_ANONYMOUS };
uint64_t page_alloc_for(unsigned order, enum page_use use); // content undefined
// The same where a policy wants the page with this index; not on a node that it does not name.
uint64_t page_alloc_policy(struct numa_policy policy, uint64_t index, unsigned order,
                           enum page_use use);
// The use of the block that holds `physical`; 0: not of the allocator (MMIO, the initrd).
unsigned page_use(uint64_t physical);
// Splits a block so that each of its 4 KiB pages has its own reference count (for huge page -> 4
// KiB demotion). Each starts with the block's count, so nobody but the caller may hold references
// on it.
void page_split(uint64_t physical, unsigned order);
// A reference on the block that `physical` lies in (any of its pages). No effect on memory that is
// not the allocator's.
void page_get(uint64_t physical);
// Drops a reference; frees the block (its order is remembered) when it was the last.
void page_put(uint64_t physical);
uint32_t page_references(uint64_t physical);
// Lets another account pay for the block. 0, or -ENOMEM: its limit is reached. NULL: the kernel.
int page_recharge(uint64_t physical, struct memory_account *account);
// What is still charged to accounts without references becomes the kernel's. Long; no lock held.
void page_disown(void);

size_t page_total(void);   // bytes of RAM given to the allocator
size_t page_reserve(void); // of these, for user pages of programs without a limit only
size_t page_free_bytes(void);
size_t page_node_free_bytes(unsigned node); // of a NUMA node (numa.h)
size_t page_user_bytes(void);               // in blocks that are PAGE_SHARED or PAGE_ANONYMOUS

// size: a multiple of 8 bytes. String instructions: the fastest way in every machine and emulator
// we know.
static inline void page_clear(void *to, size_t size) {
    size_t words = size / 8;
    __asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(0ul) : "memory");
}

static inline void page_copy(void *to, const void *from, size_t size) {
    size_t words = size / 8;
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

extern uint64_t direct_map_base; // DIRECT_MAP_BASE in the kernel

static inline void *page_to_virtual(uint64_t physical) {
    return (void *)(uintptr_t)(direct_map_base + physical);
}

static inline uint64_t virtual_to_page(const void *address) {
    return (uint64_t)(uintptr_t)address - direct_map_base;
}
