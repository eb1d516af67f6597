// SPDX-License-Identifier: BSD-2-Clause
// Ranges of leaves. A chunk clears or changes entries under the lock; then, without it, listeners
// and the TLBs of other CPUs are told, and only then pages are freed.
#include "core/mm/leaf_range.h"
#include <asm/errno.h>
#include <linux/mman.h>
#include "arch/x86/paging.h"
#include "core/mm/address_space.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"

enum {
    CHUNK_LEAVES = 256, // 2 KiB of kernel stack for their addresses
    CHUNK_STEPS = 512,  // holes seen count too
};

struct leaf_batch {
    unsigned count;
    bool changed;    // translations went or lost rights: tell others
    bool notify;     // there are listeners
    uint64_t tables; // that have become empty
    uint64_t pages[CHUNK_LEAVES];
};

unsigned leaf_flags(const struct mapping *mapping, uint64_t physical) {
    // x86 cannot give write or execute without read. No right at all: the entry stays, but even the
    // kernel's user copies fault.
    if (!(mapping->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)))
        return PAGING_NO_ACCESS;
    unsigned flags = PAGING_USER;
    if (mapping->prot & PROT_EXEC)
        flags |= PAGING_EXECUTE;
    if (mapping->object && mapping->object->device)
        flags |= PAGING_UNCACHED;
    // A private mapping may write only to its own copy, and after a fork only when no other has it.
    if ((mapping->prot & PROT_WRITE) &&
        ((mapping->flags & MAPPING_SHARED) ||
         (page_use(physical) == PAGE_ANONYMOUS && page_references(physical) == 1)))
        flags |= PAGING_WRITE;
    return flags;
}

static void batch_begin(struct leaf_batch *batch) {
    batch->count = 0;
    batch->changed = batch->notify = false;
    batch->tables = 0;
}

// Lock held, at the end of a chunk.
static void batch_seal(struct address_space *space, struct leaf_batch *batch) {
    if (batch->changed && !list_empty(&space->listeners)) {
        batch->notify = true;
        space->notifying++;
    }
}

static void notify_listeners(struct address_space *space, uint64_t start, uint64_t end) {
    list_for_each_entry(struct address_space_listener, listener, &space->listeners, node) {
        listener->invalidate(listener, start, end);
    }
    spin_lock(&space->lock);
    space->notifying--;
    spin_unlock(&space->lock);
}

static void flush_tlbs(struct address_space *space, uint64_t start, uint64_t end) {
    uint64_t cpus[4], any = 0;
    for (unsigned i = 0; i < 4; i++)
        any |= cpus[i] = atomic_load(&space->cpus[i]);
    if (any)
        tlb_flush(cpus, start, end - start);
}

// Lock not held: nobody can use the chunk's old translations when this returns.
static void batch_finish(struct address_space *space, struct leaf_batch *batch, uint64_t start,
                         uint64_t end) {
    if (batch->notify)
        notify_listeners(space, start, end);
    if (batch->changed)
        flush_tlbs(space, start, end);
    for (unsigned i = 0; i < batch->count; i++)
        page_put(batch->pages[i]);
    page_table_release(batch->tables);
}

static void batch_take(struct leaf_batch *batch, const struct page_table_entry *entry) {
    batch->changed = true;
    batch->pages[batch->count++] = entry->physical;
}

// A walk over the leaves of a range.
struct leaf_walk {
    struct address_space *space;
    uint64_t at, end;
    uint64_t low, high; // of the chunk and all that its leaves show
    // Called with the lock for the leaf at `at`. 0: go on behind it, LOOK_AGAIN, or -errno.
    int (*visit)(struct leaf_walk *walk, const struct page_table_entry *entry);
    struct leaf_batch batch;
    bool keep_anonymous;           // leaves_drop
    const struct mapping *mapping; // leaves_protect: where the walk is; leaves_share
    struct address_space *child;   // leaves_share
    uint64_t distance;             // leaves_move: to the new place
};

enum { LOOK_AGAIN = 1 };

static int drop_leaf(struct leaf_walk *walk, const struct page_table_entry *entry) {
    if (walk->keep_anonymous && page_use(entry->physical) == PAGE_ANONYMOUS)
        return 0;
    uint64_t base = walk->at & ~(entry->size - 1);
    walk->low = base < walk->low ? base : walk->low;
    walk->high = base + entry->size;
    page_table_unmap(walk->space->page_table, walk->at);
    batch_take(&walk->batch, entry);
    return 0;
}

// Lock held.
static int walk_chunk(struct leaf_walk *walk) {
    struct leaf_batch *batch = &walk->batch;
    int status = 0;
    for (unsigned step = 0;
         status >= 0 && walk->at < walk->end && batch->count < CHUNK_LEAVES && step < CHUNK_STEPS;
         step++) {
        struct page_table_entry entry = page_table_lookup(walk->space->page_table, walk->at);
        uint64_t size = entry.size ? entry.size - (walk->at & (entry.size - 1)) : entry.hole_size;
        status = entry.size ? walk->visit(walk, &entry) : 0;
        if (!status)
            walk->at = walk->end - walk->at > size ? walk->at + size : walk->end;
    }
    return status < 0 ? status : 0;
}

// 0, or the error of a visit; walk->at is how far it came.
static int walk_leaves(struct leaf_walk *walk) {
    struct address_space *space = walk->space;
    int error = 0;
    while (walk->at < walk->end && !error) {
        uint64_t from = walk->low = walk->at;
        walk->high = 0;
        batch_begin(&walk->batch);
        spin_lock(&space->lock);
        error = walk_chunk(walk);
        if (walk->visit == drop_leaf)
            walk->batch.tables = page_table_prune(space->page_table, from, walk->at - from);
        walk->batch.changed |= walk->batch.tables != 0;
        batch_seal(space, &walk->batch);
        spin_unlock(&space->lock);
        batch_finish(space, &walk->batch, walk->low, walk->high > walk->at ? walk->high : walk->at);
        if (walk->at < walk->end && !error)
            thread_preemption_point();
    }
    return error;
}

void leaves_drop(struct address_space *space, uint64_t start, uint64_t end, bool keep_anonymous) {
    struct leaf_walk walk = {.space = space,
                             .at = start,
                             .end = end,
                             .visit = drop_leaf,
                             .keep_anonymous = keep_anonymous};
    walk_leaves(&walk);
}

static int protect_leaf(struct leaf_walk *walk, const struct page_table_entry *entry) {
    const unsigned rights = PAGING_WRITE | PAGING_EXECUTE | PAGING_USER | PAGING_NO_ACCESS;
    if (!walk->mapping || walk->at >= walk->mapping->end)
        walk->mapping = mapping_tree_at_or_above(&walk->space->mappings, walk->at);
    if (!walk->mapping || walk->at < walk->mapping->start)
        return 0;
    unsigned flags = leaf_flags(walk->mapping, entry->physical);
    if (flags != (entry->flags & rights))
        page_table_protect(walk->space->page_table, walk->at, flags);
    if (entry->flags & rights & ~flags & ~PAGING_NO_ACCESS)
        walk->batch.changed = true;
    return 0;
}

void leaves_protect(struct address_space *space, uint64_t start, uint64_t end) {
    struct leaf_walk walk = {.space = space, .at = start, .end = end, .visit = protect_leaf};
    walk_leaves(&walk);
}

// Lock held. Private pages become 512 of their own; pages of an object are dropped, since the
// object has them.
static int demote(struct address_space *space, uint64_t address,
                  const struct page_table_entry *entry, struct leaf_batch *batch) {
    if (page_use(entry->physical) != PAGE_ANONYMOUS) {
        page_table_unmap(space->page_table, address);
        batch_take(batch, entry);
        return 0;
    }
    int error = page_table_split(space->page_table, address);
    if (error)
        return error;
    if (page_references(entry->physical) == 1)
        page_split(entry->physical, PAGE_ORDER_2M);
    else // another address space has it since a fork: it stays one block, with a reference a leaf
        for (unsigned i = 1; i < HUGE_SIZE / PAGE_SIZE; i++)
            page_get(entry->physical);
    return 0;
}

int leaves_cut(struct address_space *space, uint64_t address) {
    struct leaf_batch batch;
    int error = 0;
    batch_begin(&batch);
    spin_lock(&space->lock);
    struct page_table_entry entry = page_table_lookup(space->page_table, address);
    if (entry.size && (address & (entry.size - 1)))
        error = demote(space, address, &entry, &batch);
    batch_seal(space, &batch);
    spin_unlock(&space->lock);
    if (entry.size)
        batch_finish(space, &batch, address & ~(entry.size - 1),
                     (address & ~(entry.size - 1)) + entry.size);
    return error;
}

static int move_leaf(struct leaf_walk *walk, const struct page_table_entry *entry) {
    uint64_t table = walk->space->page_table, to = walk->at + walk->distance;
    int error = -EEXIST;
    if ((to & (entry->size - 1)) == 0)
        error = page_table_map(table, to, entry->physical, entry->size, entry->flags);
    if (error == -EEXIST && entry->size > PAGE_SIZE) {
        bool dropped = page_use(entry->physical) != PAGE_ANONYMOUS;
        error = demote(walk->space, walk->at, entry, &walk->batch);
        return error ? error : dropped ? 0 : LOOK_AGAIN;
    }
    if (error)
        return error;
    page_table_unmap(table, walk->at);
    walk->batch.changed = true;
    return 0;
}

int leaves_move(struct address_space *space, uint64_t from, uint64_t to, uint64_t size,
                uint64_t *moved) {
    struct leaf_walk walk = {
        .space = space, .at = from, .end = from + size, .visit = move_leaf, .distance = to - from};
    int error = walk_leaves(&walk);
    *moved = walk.at - from;
    return error;
}

static int share_leaf(struct leaf_walk *walk, const struct page_table_entry *entry) {
    if (page_use(entry->physical) != PAGE_ANONYMOUS)
        return 0;
    page_get(entry->physical);
    unsigned flags = leaf_flags(walk->mapping, entry->physical);
    int error =
        page_table_map(walk->child->page_table, walk->at, entry->physical, entry->size, flags);
    if (error) {
        page_put(entry->physical);
        return error;
    }
    page_table_protect(walk->space->page_table, walk->at, flags);
    walk->batch.changed |= entry->flags & PAGING_WRITE;
    return 0;
}

int leaves_share(struct address_space *space, struct address_space *child,
                 const struct mapping *mapping) {
    struct leaf_walk walk = {.space = space,
                             .at = mapping->start,
                             .end = mapping->end,
                             .visit = share_leaf,
                             .child = child,
                             .mapping = mapping};
    return walk_leaves(&walk);
}

void leaf_copy(struct address_space *space, uint64_t address, uint64_t copy, uint64_t size) {
    struct leaf_batch batch;
    batch_begin(&batch);
    spin_lock(&space->lock);
    struct page_table_entry entry = page_table_lookup(space->page_table, address);
    if (entry.size == size && page_use(entry.physical) == PAGE_ANONYMOUS &&
        page_references(entry.physical) > 1) {
        page_copy(page_to_virtual(copy), page_to_virtual(entry.physical), size);
        page_get(copy);
        page_table_map(space->page_table, address, copy, size, entry.flags & ~PAGING_WRITE);
        batch_take(&batch, &entry);
    }
    batch_seal(space, &batch);
    spin_unlock(&space->lock);
    batch_finish(space, &batch, address, address + size);
}

// With a reference more than the leaf's nobody may write to a page: it is then copied as after a
// fork. Returns where the next leaf may be.
static uint64_t leaf_move_node(struct address_space *space, uint64_t address,
                               struct numa_policy policy) {
    struct leaf_batch batch;
    batch_begin(&batch);
    spin_lock(&space->lock);
    struct page_table_entry entry = page_table_lookup(space->page_table, address);
    bool wanted = entry.size && page_use(entry.physical) == PAGE_ANONYMOUS &&
                  page_references(entry.physical) == 1 &&
                  !numa_policy_allows(policy, entry.physical);
    if (wanted) {
        page_get(entry.physical);
        page_table_protect(space->page_table, address, entry.flags & ~PAGING_WRITE);
        batch.changed = true;
    }
    batch_seal(space, &batch);
    spin_unlock(&space->lock);
    uint64_t next = address + (entry.size ? entry.size : entry.hole_size);
    if (!wanted)
        return next;
    batch_finish(space, &batch, address, next);
    uint64_t copy = page_alloc_policy(policy, address / entry.size,
                                      entry.size == PAGE_SIZE ? 0 : PAGE_ORDER_2M, PAGE_ANONYMOUS);
    if (copy != PHYSICAL_NONE) {
        leaf_copy(space, address, copy, entry.size);
        page_put(copy);
    }
    page_put(entry.physical);
    return next;
}

void leaves_move_nodes(struct address_space *space, uint64_t start, uint64_t end,
                       struct numa_policy policy) {
    while (start < end) {
        start = leaf_move_node(space, start, policy);
        thread_preemption_point();
    }
}
