// SPDX-License-Identifier: BSD-2-Clause
// Address spaces: making and ending them, and their listeners.
#include "core/mm/address_space.h"
#include "arch/x86/paging.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/leaf_range.h"
#include "core/mm/mapping_change.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"

// Room above for the main thread's stack. Fixed, not randomized: runs can be repeated tick for
// tick, and what a process may do is limited by its fds, not by its ignorance of addresses.
static const uint64_t mmap_top = USER_END - (1ull << 30);

static struct {
    struct spinlock lock;
    struct list list;
} all = {.list = LIST_INIT(all.list)};

struct address_space *address_space_create(void) {
    struct address_space *space = heap_new(struct address_space);
    if (!space)
        return NULL;
    space->page_table = page_table_create();
    if (space->page_table == PHYSICAL_NONE) {
        heap_free(space);
        return NULL;
    }
    atomic_store(&space->references, 1);
    mapping_tree_init(&space->mappings);
    wait_queue_init(&space->changed);
    list_init(&space->listeners);
    space->map_top = mmap_top;
    spin_lock(&all.lock);
    list_push_back(&all.list, &space->all);
    spin_unlock(&all.lock);
    return space;
}

void address_space_get(struct address_space *space) {
    atomic_fetch_add(&space->references, 1);
}

static void free_mappings(struct address_space *space) {
    struct list *list = &space->mappings.list;
    // The tree goes as a whole: nobody looks into it any more.
    for (unsigned i = 1; !list_empty(list); i++) {
        struct list *node = list->next;
        list_remove(node);
        mapping_free(container_of(node, struct mapping, node));
        if (i % 256 == 0)
            thread_preemption_point();
    }
}

void address_space_put(struct address_space *space) {
    unsigned before = atomic_fetch_sub(&space->references, 1);
    ASSERT(before > 0);
    if (before > 1)
        return;
    ASSERT(list_empty(&space->listeners));
    spin_lock(&all.lock);
    list_remove(&space->all);
    spin_unlock(&all.lock);
    address_space_leave(space);
    leaves_drop(space, 0, USER_END, false);
    free_mappings(space);
    page_table_destroy(space->page_table);
    heap_free(space);
}

// The next in the list that is not about to go, with a reference; NULL: that was the last. Puts
// `space`.
static struct address_space *next_space(struct address_space *space) {
    struct address_space *next = NULL;
    spin_lock(&all.lock);
    const struct list *node = space ? space->all.next : all.list.next;
    for (; !next && node != &all.list; node = node->next) {
        next = container_of(node, struct address_space, all);
        unsigned references = atomic_load(&next->references);
        while (references &&
               !atomic_compare_exchange_weak(&next->references, &references, references + 1))
            ;
        if (!references)
            next = NULL;
    }
    spin_unlock(&all.lock);
    if (space)
        address_space_put(space);
    return next;
}

static void forget(struct address_space *space, const struct memory_object *object, uint64_t offset,
                   uint64_t end) {
    struct mapping_change change;
    mapping_change_force(&change, space);
    const struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, 0);
    for (; mapping; mapping = mapping_next(&space->mappings, mapping)) {
        uint64_t shown_end = mapping->offset + (mapping->end - mapping->start);
        if (mapping->object != object || mapping->offset >= end || shown_end <= offset)
            continue;
        uint64_t from = offset > mapping->offset ? offset - mapping->offset : 0;
        uint64_t to = (end < shown_end ? end : shown_end) - mapping->offset;
        leaves_drop(space, mapping->start + from, mapping->start + to, true);
    }
    mapping_change_end(&change);
}

void address_spaces_forget(const struct memory_object *object, uint64_t offset, uint64_t end) {
    if (atomic_load(&object->references) == 1) // the caller's: no mapping has one
        return;
    for (struct address_space *space = NULL; (space = next_space(space));)
        forget(space, object, offset, end);
}

void address_space_listen(struct address_space *space, struct address_space_listener *listener) {
    spin_lock(&space->lock);
    list_push_front(&space->listeners, &listener->node);
    spin_unlock(&space->lock);
}

void address_space_unlisten(struct address_space *space, struct address_space_listener *listener) {
    for (;;) {
        spin_lock(&space->lock);
        bool idle = space->notifying == 0;
        if (idle)
            list_remove(&listener->node);
        spin_unlock(&space->lock);
        if (idle)
            return;
        thread_preemption_point(); // serves calls of the CPU that is notifying
    }
}
