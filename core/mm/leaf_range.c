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
    list_for_each(node, &space->listeners) {
        struct address_space_listener *listener =
            container_of(node, struct address_space_listener, node);
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

static uint64_t past_hole(uint64_t at, uint64_t hole_size, uint64_t end) {
    return end - at > hole_size ? at + hole_size : end;
}

static void batch_take(struct leaf_batch *batch, const struct page_table_entry *entry) {
    batch->changed = true;
    batch->pages[batch->count++] = entry->physical;
}

// Lock held. One chunk of leaves_drop; returns how far it came.
static uint64_t drop_chunk(struct address_space *space, uint64_t at, uint64_t end,
                           bool keep_anonymous, struct leaf_batch *batch) {
    uint64_t table = space->page_table, start = at;
    for (unsigned step = 0; at < end && batch->count < CHUNK_LEAVES && step < CHUNK_STEPS; step++) {
        struct page_table_entry entry;
        bool keep = false;
        if (keep_anonymous) {
            entry = page_table_lookup(table, at);
            keep = entry.size && page_use(entry.physical) == PAGE_ANONYMOUS;
            if (entry.size && !keep)
                page_table_unmap(table, at);
        } else {
            entry = page_table_unmap(table, at);
        }
        if (!entry.size) {
            at = past_hole(at, entry.hole_size, end);
            continue;
        }
        if (!keep)
            batch_take(batch, &entry);
        at = (at & ~(entry.size - 1)) + entry.size;
    }
    if (at > end)
        at = end;
    batch->tables = page_table_prune(table, start, at - start);
    batch->changed |= batch->tables != 0;
    return at;
}

void leaves_drop(struct address_space *space, uint64_t start, uint64_t end, bool keep_anonymous) {
    struct leaf_batch batch;
    for (uint64_t at = start; at < end;) {
        uint64_t from = at;
        batch_begin(&batch);
        spin_lock(&space->lock);
        at = drop_chunk(space, at, end, keep_anonymous, &batch);
        batch_seal(space, &batch);
        spin_unlock(&space->lock);
        batch_finish(space, &batch, from, at);
        if (at < end)
            thread_preemption_point();
    }
}

// Lock held.
static uint64_t protect_chunk(struct address_space *space, uint64_t at, uint64_t end,
                              struct leaf_batch *batch) {
    const unsigned rights = PAGING_WRITE | PAGING_EXECUTE | PAGING_USER | PAGING_NO_ACCESS;
    const struct mapping *mapping = NULL;
    for (unsigned step = 0; at < end && step < CHUNK_STEPS; step++) {
        struct page_table_entry entry = page_table_lookup(space->page_table, at);
        if (!entry.size) {
            at = past_hole(at, entry.hole_size, end);
            continue;
        }
        if (!mapping || at >= mapping->end)
            mapping = mapping_tree_at_or_above(&space->mappings, at);
        if (mapping && at >= mapping->start) {
            unsigned flags = leaf_flags(mapping, entry.physical);
            if (flags != (entry.flags & rights))
                page_table_protect(space->page_table, at, flags);
            if (entry.flags & rights & ~flags & ~PAGING_NO_ACCESS)
                batch->changed = true;
        }
        at = (at & ~(entry.size - 1)) + entry.size;
    }
    return at < end ? at : end;
}

void leaves_protect(struct address_space *space, uint64_t start, uint64_t end) {
    struct leaf_batch batch;
    for (uint64_t at = start; at < end;) {
        uint64_t from = at;
        batch_begin(&batch);
        spin_lock(&space->lock);
        at = protect_chunk(space, at, end, &batch);
        batch_seal(space, &batch);
        spin_unlock(&space->lock);
        batch_finish(space, &batch, from, at);
        if (at < end)
            thread_preemption_point();
    }
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

// Lock held. *moved is how far it came within the whole move.
static int move_chunk(struct address_space *space, uint64_t from, uint64_t to, uint64_t size,
                      uint64_t *moved, struct leaf_batch *batch) {
    uint64_t table = space->page_table;
    for (unsigned step = 0; *moved < size && batch->count < CHUNK_LEAVES && step < CHUNK_STEPS;
         step++) {
        struct page_table_entry entry = page_table_lookup(table, from + *moved);
        if (!entry.size) {
            *moved = past_hole(*moved, entry.hole_size, size);
            continue;
        }
        int error = -EEXIST;
        if (((to + *moved) & (entry.size - 1)) == 0)
            error = page_table_map(table, to + *moved, entry.physical, entry.size, entry.flags);
        if (error == -EEXIST && entry.size > PAGE_SIZE) {
            error = demote(space, from + *moved, &entry, batch);
            if (error)
                return error;
            continue;
        }
        if (error)
            return error;
        page_table_unmap(table, from + *moved);
        batch->changed = true;
        *moved += entry.size;
    }
    return 0;
}

int leaves_move(struct address_space *space, uint64_t from, uint64_t to, uint64_t size,
                uint64_t *moved) {
    struct leaf_batch batch;
    int error = 0;
    for (*moved = 0; *moved < size && !error;) {
        uint64_t start = *moved;
        batch_begin(&batch);
        spin_lock(&space->lock);
        error = move_chunk(space, from, to, size, moved, &batch);
        batch_seal(space, &batch);
        spin_unlock(&space->lock);
        uint64_t end = *moved;
        // A leaf dropped in the last step lies behind what was moved.
        batch_finish(space, &batch, from + start,
                     from + (end + HUGE_SIZE < size ? end + HUGE_SIZE : size));
        if (*moved < size && !error)
            thread_preemption_point();
    }
    return error;
}

// Lock held. One chunk of leaves_share.
static int share_chunk(struct address_space *space, struct address_space *child,
                       const struct mapping *mapping, uint64_t *at, struct leaf_batch *batch) {
    for (unsigned step = 0; *at < mapping->end && step < CHUNK_STEPS; step++) {
        struct page_table_entry entry = page_table_lookup(space->page_table, *at);
        if (!entry.size) {
            *at = past_hole(*at, entry.hole_size, mapping->end);
            continue;
        }
        if (page_use(entry.physical) == PAGE_ANONYMOUS) {
            page_get(entry.physical);
            unsigned flags = leaf_flags(mapping, entry.physical);
            int error = page_table_map(child->page_table, *at, entry.physical, entry.size, flags);
            if (error) {
                page_put(entry.physical);
                return error;
            }
            page_table_protect(space->page_table, *at, flags);
            batch->changed |= entry.flags & PAGING_WRITE;
        }
        *at += entry.size;
    }
    return 0;
}

int leaves_share(struct address_space *space, struct address_space *child,
                 const struct mapping *mapping) {
    struct leaf_batch batch;
    int error = 0;
    for (uint64_t at = mapping->start; at < mapping->end && !error;) {
        uint64_t from = at;
        batch_begin(&batch);
        spin_lock(&space->lock);
        error = share_chunk(space, child, mapping, &at, &batch);
        batch_seal(space, &batch);
        spin_unlock(&space->lock);
        batch_finish(space, &batch, from, at);
        thread_preemption_point();
    }
    return error;
}

void leaf_copy(struct address_space *space, uint64_t address, uint64_t copy) {
    struct leaf_batch batch;
    batch_begin(&batch);
    spin_lock(&space->lock);
    struct page_table_entry entry = page_table_lookup(space->page_table, address);
    if (entry.size == PAGE_SIZE && page_use(entry.physical) == PAGE_ANONYMOUS &&
        page_references(entry.physical) > 1) {
        page_copy(page_to_virtual(copy), page_to_virtual(entry.physical), PAGE_SIZE);
        page_get(copy);
        page_table_map(space->page_table, address, copy, PAGE_SIZE, entry.flags & ~PAGING_WRITE);
        batch_take(&batch, &entry);
    }
    batch_seal(space, &batch);
    spin_unlock(&space->lock);
    batch_finish(space, &batch, address, address + PAGE_SIZE);
}
