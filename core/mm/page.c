// SPDX-License-Identifier: BSD-2-Clause
// The page array and the buddy allocator over it. Free blocks are linked through their own first
// bytes.
#include "core/mm/page.h"
#include <asm/errno.h>
#include <stdatomic.h>
#include "core/list.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/numa.h"
#include "core/sched/spinlock.h"
#include "core/sched/thread.h"

// Only the first page of a block has a state; the others are PAGE_NONE, so that the head of the
// block around a page can be found by looking at ever larger alignments. What the allocator never
// got is PAGE_NONE too.
enum { PAGE_NONE, PAGE_FREE /* then enum page_use */ };
enum { ORDERS = PAGE_ORDER_1G + 1 };

struct page {
    _Atomic uint32_t references;
    _Atomic uint16_t tag;   // state << 8 | order: one word, since page_get looks without the lock
    _Atomic uint16_t owner; // account that pays
};
_Static_assert(sizeof(struct page) == 8, "the page array is sized by this");

struct zone { // of a NUMA node
    struct list free[ORDERS];
    uint32_t nonempty; // bit per order
    size_t free_bytes;
};

static struct {
    struct spinlock lock;
    struct page *pages;
    uint64_t count;
    struct zone zone[NUMA_NODES];
    size_t total, free_bytes, user_bytes;
} ram;

size_t page_array_size(uint64_t highest_physical) {
    return ((highest_physical >> PAGE_SHIFT) * sizeof(struct page) + PAGE_SIZE - 1) & PAGE_MASK;
}

void page_init(uint64_t highest_physical, uint64_t array_physical) {
    ram.pages = page_to_virtual(array_physical);
    ram.count = highest_physical >> PAGE_SHIFT;
    page_clear(ram.pages, page_array_size(highest_physical));
    numa_init();
    for (unsigned node = 0; node < NUMA_NODES; node++) {
        ram.zone[node] = (struct zone){0};
        for (unsigned order = 0; order < ORDERS; order++)
            list_init(&ram.zone[node].free[order]);
    }
    ram.total = ram.free_bytes = ram.user_bytes = 0;
    kernel_memory_add(page_array_size(highest_physical));
}

static inline unsigned tag_state(uint16_t tag) {
    return tag >> 8;
}

static inline unsigned tag_order(uint16_t tag) {
    return tag & 0xff;
}

static inline uint16_t tag_of(uint64_t pfn) {
    return atomic_load_explicit(&ram.pages[pfn].tag, memory_order_relaxed);
}

static inline void tag_set(uint64_t pfn, unsigned state, unsigned order) {
    atomic_store_explicit(&ram.pages[pfn].tag, (uint16_t)(state << 8 | order),
                          memory_order_relaxed);
}

static struct list *free_node(uint64_t pfn) {
    return page_to_virtual(pfn << PAGE_SHIFT);
}

static struct zone *zone_of(uint64_t pfn) {
    return &ram.zone[numa_nodes() > 1 ? numa_node_of(pfn << PAGE_SHIFT, NULL) : 0];
}

static void free_push(struct zone *zone, uint64_t pfn, unsigned order) {
    tag_set(pfn, PAGE_FREE, order);
    list_push_front(&zone->free[order], free_node(pfn));
    zone->nonempty |= 1u << order;
}

static void free_take(struct zone *zone, uint64_t pfn, unsigned order) {
    list_remove(free_node(pfn));
    tag_set(pfn, PAGE_NONE, 0);
    if (list_empty(&zone->free[order]))
        zone->nonempty &= ~(1u << order);
}

// Lock held. Joins the block with its free buddies of the same node.
static void block_free(uint64_t pfn, unsigned order) {
    struct zone *zone = zone_of(pfn);
    ram.free_bytes += PAGE_SIZE << order;
    zone->free_bytes += PAGE_SIZE << order;
    tag_set(pfn, PAGE_NONE, 0);
    for (; order < PAGE_ORDER_1G; order++) {
        uint64_t buddy = pfn ^ (1ull << order);
        if (buddy >= ram.count || tag_of(buddy) != (PAGE_FREE << 8 | order) ||
            zone_of(buddy) != zone)
            break;
        free_take(zone, buddy, order);
        pfn &= ~(1ull << order);
    }
    free_push(zone, pfn, order);
}

void page_add_free(uint64_t base, uint64_t size) {
    uint64_t pfn = (base + PAGE_SIZE - 1) >> PAGE_SHIFT;
    uint64_t end = (base + size) >> PAGE_SHIFT;
    if (end > ram.count)
        end = ram.count;
    // Page 0 stays out: physical address 0 is too easily taken for "none".
    if (pfn == 0)
        pfn = 1;
    spin_lock(&ram.lock);
    while (pfn < end) {
        unsigned order = (unsigned)__builtin_ctzll(pfn);
        if (order > PAGE_ORDER_1G)
            order = PAGE_ORDER_1G;
        while (pfn + (1ull << order) > end)
            order--;
        ram.total += PAGE_SIZE << order;
        block_free(pfn, order);
        pfn += 1ull << order;
    }
    spin_unlock(&ram.lock);
}

// Lock held. A block that lies in several nodes is made smaller.
static void sort_block(uint64_t pfn, unsigned order) {
    uint64_t end;
    numa_node_of(pfn << PAGE_SHIFT, &end);
    if (!order || end >= (pfn + (1ull << order)) << PAGE_SHIFT) {
        block_free(pfn, order);
        return;
    }
    sort_block(pfn, order - 1);
    sort_block(pfn + (1ull << (order - 1)), order - 1);
}

void page_sort_nodes(void) {
    struct list all;
    struct zone *zone = &ram.zone[0];
    list_init(&all);
    spin_lock(&ram.lock);
    for (unsigned order = 0; order < ORDERS; order++)
        while (!list_empty(&zone->free[order])) {
            struct list *node = zone->free[order].next;
            uint64_t pfn = virtual_to_page(node) >> PAGE_SHIFT;
            free_take(zone, pfn, order);
            tag_set(pfn, PAGE_NONE, order);
            list_push_back(&all, node);
        }
    ram.free_bytes = zone->free_bytes = 0;
    list_for_each_safe(node, &all) {
        uint64_t pfn = virtual_to_page(node) >> PAGE_SHIFT;
        sort_block(pfn, tag_order(tag_of(pfn)));
    }
    spin_unlock(&ram.lock);
}

static void uncharge(unsigned owner, uint16_t tag) {
    account_uncharge(account_of_id(owner), PAGE_SIZE << tag_order(tag),
                     tag_state(tag) == PAGE_KERNEL);
}

// What must be free after an allocation for this account.
static size_t floor_for(const struct memory_account *account, enum page_use use) {
    if (!account_is_limited(account))
        return 0;
    return use == PAGE_KERNEL ? page_reserve() / 2 : page_reserve();
}

// Lock held. The nearest zone that has a block of this order; NULL: none.
static struct zone *find_zone(unsigned order, const struct numa_place *place) {
    unsigned nodes = numa_nodes();
    for (unsigned rank = 0; rank < nodes; rank++) {
        unsigned node = nodes > 1 ? numa_nearest(place->first, rank) : 0;
        if ((nodes == 1 || place->allowed >> node & 1) && ram.zone[node].nonempty >> order)
            return &ram.zone[node];
    }
    return NULL;
}

// Lock held. The block's owner is yet to be set.
static uint64_t block_take(unsigned order, enum page_use use, const struct numa_place *place) {
    struct zone *zone = find_zone(order, place);
    if (!zone)
        return PHYSICAL_NONE;
    unsigned found = (unsigned)__builtin_ctz(zone->nonempty >> order << order);
    uint64_t physical = virtual_to_page(zone->free[found].next), pfn = physical >> PAGE_SHIFT;
    free_take(zone, pfn, found);
    while (found > order) {
        found--;
        free_push(zone, pfn + (1ull << found), found);
    }
    ram.free_bytes -= PAGE_SIZE << order;
    zone->free_bytes -= PAGE_SIZE << order;
    if (use != PAGE_KERNEL)
        ram.user_bytes += PAGE_SIZE << order;
    atomic_store_explicit(&ram.pages[pfn].references, 1, memory_order_relaxed);
    tag_set(pfn, use, order);
    return physical;
}

uint64_t page_alloc_for(unsigned order, enum page_use use) {
    struct memory_account *account = account_of_caller();
    size_t size = PAGE_SIZE << order, least = floor_for(account, use) + size;
    if (order > PAGE_ORDER_1G || account_charge(account, size, use == PAGE_KERNEL))
        return PHYSICAL_NONE;
    struct numa_place place = {0, UINT32_MAX};
    if (numa_nodes() > 1)
        place = numa_place_of_caller();
    if (use == PAGE_KERNEL) // a policy says where a program's own memory is
        place.allowed = UINT32_MAX;
    spin_lock(&ram.lock);
    uint64_t physical = ram.free_bytes < least ? PHYSICAL_NONE : block_take(order, use, &place);
    if (physical != PHYSICAL_NONE)
        atomic_store_explicit(&ram.pages[physical >> PAGE_SHIFT].owner,
                              (uint16_t)account_id(account), memory_order_relaxed);
    spin_unlock(&ram.lock);
    if (physical == PHYSICAL_NONE)
        account_uncharge(account, size, use == PAGE_KERNEL);
    return physical;
}

uint64_t page_alloc_policy(struct numa_policy policy, uint64_t index, unsigned order,
                           enum page_use use) {
    numa_fault_begin(policy, index);
    uint64_t physical = page_alloc_for(order, use);
    numa_fault_end();
    if (physical == PHYSICAL_NONE || numa_policy_allows(policy, physical))
        return physical;
    page_put(physical);
    return PHYSICAL_NONE;
}

uint64_t page_alloc(unsigned order) {
    return page_alloc_for(order, PAGE_KERNEL);
}

uint64_t page_alloc_zeroed(unsigned order) {
    uint64_t physical = page_alloc(order);
    if (physical != PHYSICAL_NONE)
        page_clear(page_to_virtual(physical), PAGE_SIZE << order);
    return physical;
}

// First page of the allocated block around `physical`; ram.count: there is none.
static uint64_t block_of(uint64_t physical) {
    uint64_t pfn = physical >> PAGE_SHIFT;
    if (pfn >= ram.count)
        return ram.count;
    for (unsigned order = 0; order < ORDERS; order++) {
        uint64_t head = pfn >> order << order;
        uint16_t tag = tag_of(head);
        if (tag_state(tag) > PAGE_FREE && tag_order(tag) >= order)
            return head;
    }
    return ram.count;
}

unsigned page_use(uint64_t physical) {
    uint64_t pfn = block_of(physical);
    return pfn < ram.count ? tag_state(tag_of(pfn)) : 0;
}

void page_split(uint64_t physical, unsigned order) {
    uint64_t pfn = physical >> PAGE_SHIFT;
    uint16_t tag = tag_of(pfn);
    ASSERT(tag_state(tag) > PAGE_FREE && tag_order(tag) == order);
    uint32_t references = atomic_load_explicit(&ram.pages[pfn].references, memory_order_relaxed);
    uint16_t owner = atomic_load_explicit(&ram.pages[pfn].owner, memory_order_relaxed);
    // From the end, so that a page finds either the whole block or itself at any time.
    for (uint64_t i = 1ull << order; i-- > 0;) {
        atomic_store_explicit(&ram.pages[pfn + i].references, references, memory_order_relaxed);
        atomic_store_explicit(&ram.pages[pfn + i].owner, owner, memory_order_relaxed);
        tag_set(pfn + i, tag_state(tag), 0);
    }
}

void page_get(uint64_t physical) {
    uint64_t pfn = block_of(physical);
    if (pfn < ram.count)
        atomic_fetch_add_explicit(&ram.pages[pfn].references, 1, memory_order_relaxed);
}

void page_put(uint64_t physical) {
    uint64_t pfn = block_of(physical);
    if (pfn >= ram.count)
        return;
    uint32_t before =
        atomic_fetch_sub_explicit(&ram.pages[pfn].references, 1, memory_order_acq_rel);
    ASSERT(before > 0);
    if (before > 1)
        return;
    uint16_t tag = tag_of(pfn);
    uncharge(atomic_exchange(&ram.pages[pfn].owner, 0), tag);
    spin_lock(&ram.lock);
    if (tag_state(tag) != PAGE_KERNEL)
        ram.user_bytes -= PAGE_SIZE << tag_order(tag);
    block_free(pfn, tag_order(tag));
    spin_unlock(&ram.lock);
}

uint32_t page_references(uint64_t physical) {
    uint64_t pfn = block_of(physical);
    if (pfn >= ram.count)
        return 0;
    return atomic_load_explicit(&ram.pages[pfn].references, memory_order_relaxed);
}

int page_recharge(uint64_t physical, struct memory_account *account) {
    uint64_t pfn = block_of(physical);
    if (pfn >= ram.count)
        return 0;
    uint16_t tag = tag_of(pfn);
    if (account_charge(account, PAGE_SIZE << tag_order(tag), tag_state(tag) == PAGE_KERNEL))
        return -ENOMEM;
    uncharge(atomic_exchange(&ram.pages[pfn].owner, (uint16_t)account_id(account)), tag);
    return 0;
}

static void disown(uint64_t pfn) {
    uint16_t owner = atomic_load_explicit(&ram.pages[pfn].owner, memory_order_relaxed);
    struct memory_account *account = account_of_id(owner);
    if (!account || atomic_load(&account->references))
        return;
    uint16_t tag = tag_of(pfn);
    // Unless it is freed at this moment: then page_put has the owner.
    if (!atomic_compare_exchange_strong(&ram.pages[pfn].owner, &owner, 0))
        return;
    account_charge(NULL, PAGE_SIZE << tag_order(tag), tag_state(tag) == PAGE_KERNEL);
    uncharge(owner, tag);
}

void page_disown(void) {
    enum { CHUNK = 1 << 16 };
    for (uint64_t pfn = 0; pfn < ram.count; pfn++) {
        disown(pfn);
        if (pfn % CHUNK == CHUNK - 1)
            thread_preemption_point();
    }
}

size_t page_total(void) {
    return ram.total;
}

size_t page_reserve(void) {
    const size_t share = 64, most = 16ul << 20;
    return ram.total / share < most ? ram.total / share : most;
}

size_t page_free_bytes(void) {
    return ram.free_bytes;
}

size_t page_node_free_bytes(unsigned node) {
    return ram.zone[node].free_bytes;
}

size_t page_user_bytes(void) {
    return ram.user_bytes;
}
