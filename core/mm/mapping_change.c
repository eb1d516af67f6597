// SPDX-License-Identifier: BSD-2-Clause
// Exclusive changes of an address space's mappings, and the steps they are made of.
#include "core/mm/mapping_change.h"
#include <asm/errno.h>
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/leaf_range.h"
#include "core/mm/memory_object.h"
#include "core/sched/thread.h"

enum { SPARES = 4, CHUNK_MAPPINGS = 256 };

static bool is_free(void *object) {
    struct address_space *space = object;
    spin_lock(&space->lock);
    bool free = !space->changing;
    spin_unlock(&space->lock);
    return free;
}

static bool take_if_free(void *object) {
    struct address_space *space = object;
    spin_lock(&space->lock);
    bool free = !space->changing;
    space->changing = true;
    spin_unlock(&space->lock);
    return free;
}

int mapping_change_wait(struct address_space *space) {
    return wait_until(&space->changed, is_free, space, TIME_NEVER, wait_uninterruptible);
}

static void free_spares(struct mapping_change *change) {
    for (unsigned i = 0; i < SPARES; i++)
        heap_free(change->spare[i]);
}

int mapping_change_begin(struct mapping_change *change, struct address_space *space) {
    *change = (struct mapping_change){.space = space};
    for (unsigned i = 0; i < SPARES; i++) {
        change->spare[i] = heap_new(struct mapping);
        if (!change->spare[i]) {
            free_spares(change);
            return -ENOMEM;
        }
    }
    int error = wait_until(&space->changed, take_if_free, space, TIME_NEVER, wait_uninterruptible);
    if (error)
        free_spares(change);
    return error;
}

void mapping_change_force(struct mapping_change *change, struct address_space *space) {
    *change = (struct mapping_change){.space = space};
    while (wait_until(&space->changed, take_if_free, space, TIME_NEVER, wait_uninterruptible))
        thread_preemption_point(); // the thread of a killed program, which does not block
}

void mapping_change_end(struct mapping_change *change) {
    struct address_space *space = change->space;
    spin_lock(&space->lock);
    space->changing = false;
    spin_unlock(&space->lock);
    // A waiter adds itself before it looks at `changing` under the lock, so an empty queue here is
    // truly empty.
    if (!list_empty(&space->changed.waiters))
        wait_queue_wake(&space->changed, 0);
    free_spares(change);
}

struct mapping *mapping_change_take(struct mapping_change *change) {
    if (change->space->mappings.count >= MAPPING_LIMIT)
        return NULL;
    for (unsigned i = 0; i < SPARES; i++) {
        struct mapping *spare = change->spare[i];
        change->spare[i] = NULL;
        if (spare)
            return spare;
    }
    return NULL;
}

void mapping_free(struct mapping *mapping) {
    if (mapping->object)
        memory_object_put(mapping->object);
    heap_free(mapping);
}

int mapping_change_cut(struct mapping_change *change, uint64_t address) {
    struct address_space *space = change->space;
    // Only the owner of `changing` alters the tree, so it may be read without the lock.
    struct mapping *low = mapping_tree_at_or_above(&space->mappings, address);
    if (!low || low->start >= address)
        return 0;
    struct mapping *high = mapping_change_take(change);
    if (!high)
        return -ENOMEM;
    high->start = address;
    high->end = low->end;
    high->object = low->object;
    high->offset = low->offset + (address - low->start);
    high->prot = low->prot;
    high->flags = low->flags;
    high->policy = low->policy;
    if (high->object)
        memory_object_get(high->object);
    spin_lock(&space->lock);
    low->end = address;
    mapping_tree_insert(&space->mappings, high);
    spin_unlock(&space->lock);
    return leaves_cut(space, address);
}

// Lock held. Moves up to CHUNK_MAPPINGS mappings of the range from the tree to the list; false:
// that was all.
static bool take_mappings(struct address_space *space, uint64_t start, uint64_t end,
                          struct list *taken) {
    space->cached = NULL;
    for (unsigned i = 0; i < CHUNK_MAPPINGS; i++) {
        struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, start);
        if (!mapping || mapping->start >= end)
            return false;
        mapping_tree_remove(&space->mappings, mapping);
        list_push_back(taken, &mapping->node);
    }
    return true;
}

int mapping_change_unmap(struct mapping_change *change, uint64_t start, uint64_t end) {
    struct address_space *space = change->space;
    struct mapping *first = mapping_tree_at_or_above(&space->mappings, start);
    if (!first || first->start >= end)
        return 0;
    int error = mapping_change_cut(change, start);
    if (!error)
        error = mapping_change_cut(change, end);
    if (error) {
        mapping_change_join(change, start, end);
        return error;
    }
    struct list taken;
    list_init(&taken);
    for (bool more = true; more;) {
        spin_lock(&space->lock);
        more = take_mappings(space, start, end, &taken);
        spin_unlock(&space->lock);
        if (more)
            thread_preemption_point();
    }
    leaves_drop(space, start, end, false);
    list_for_each_safe(node, &taken) mapping_free(container_of(node, struct mapping, node));
    return 0;
}

static bool joinable(const struct mapping *low, const struct mapping *high) {
    return low->end == high->start && low->prot == high->prot && low->flags == high->flags &&
           low->object == high->object && low->policy.mode == high->policy.mode &&
           low->policy.nodes == high->policy.nodes &&
           (!low->object || low->offset + (low->end - low->start) == high->offset);
}

// Lock held. Joins `low` with what follows it; false: they differ.
static bool join_next(struct address_space *space, struct mapping *low) {
    struct mapping *high = mapping_next(&space->mappings, low);
    if (!high || !joinable(low, high))
        return false;
    if (space->cached == high)
        space->cached = NULL;
    mapping_tree_remove(&space->mappings, high);
    low->end = high->end;
    mapping_tree_end_changed(&space->mappings, low);
    mapping_free(high); // not the object's last reference: low has one
    return true;
}

void mapping_change_insert(struct mapping_change *change, struct mapping *mapping) {
    struct address_space *space = change->space;
    spin_lock(&space->lock);
    mapping_tree_insert(&space->mappings, mapping);
    join_next(space, mapping);
    struct mapping *previous = mapping_previous(&space->mappings, mapping);
    if (previous)
        join_next(space, previous);
    spin_unlock(&space->lock);
}

void mapping_change_join(struct mapping_change *change, uint64_t start, uint64_t end) {
    struct address_space *space = change->space;
    struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, start - 1);
    while (mapping && mapping->start < end) {
        spin_lock(&space->lock);
        bool joined = join_next(space, mapping);
        spin_unlock(&space->lock);
        if (!joined)
            mapping = mapping_next(&space->mappings, mapping);
    }
}
