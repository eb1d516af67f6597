// SPDX-License-Identifier: BSD-2-Clause
// Shared anonymous memory: memfd and MAP_SHARED|MAP_ANONYMOUS. Pages are made zeroed on first
// touch.
#include <asm/errno.h>
#include <stdbool.h>
#include "core/list.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/mm/page_tree.h"
#include "core/sched/thread.h"
#include "core/string.h"

struct shared_memory {
    struct memory_object object; // its lock guards the rest
    struct page_tree pages;
    uint64_t size; // bytes
    bool huge;
};

enum { HUGE_PAGES = 1 << PAGE_ORDER_2M };
// Far above any RAM, and what the page tree can index.
static const uint64_t size_limit = 1ull << 56;

static struct shared_memory *shared_memory_of(struct memory_object *object) {
    return container_of(object, struct shared_memory, object);
}

// Lock held. Makes the block or page around `index`.
static int make_page(struct shared_memory *memory, uint64_t index, unsigned order) {
    uint64_t physical = page_alloc_for(order, PAGE_SHARED);
    if (physical == PHYSICAL_NONE)
        return -ENOMEM;
    page_clear(page_to_virtual(physical), PAGE_SIZE << order);
    int error = page_tree_insert(&memory->pages, index >> order << order, order, physical);
    if (error)
        page_put(physical);
    return error;
}

// As the objects' page(), lock held. A block is made where it is welcome while half of RAM is free:
// speed is then worth more than the memory that it may waste.
static int find_or_make(struct shared_memory *memory, uint64_t index, uint64_t *physical,
                        unsigned *order) {
    bool huge = memory->huge || (*order && page_free_bytes() > page_total() / 2);
    uint64_t pages = (memory->size + PAGE_SIZE - 1) >> PAGE_SHIFT;
    if (index >= pages)
        return -EFAULT;
    *physical = page_tree_find(&memory->pages, index, order);
    if (*physical != PHYSICAL_NONE)
        return 0;
    int error = -ENOMEM;
    if (huge && *order >= PAGE_ORDER_2M && (index | (HUGE_PAGES - 1)) < pages)
        error = make_page(memory, index, PAGE_ORDER_2M);
    if (error)
        error = make_page(memory, index, 0);
    if (error)
        return error;
    *physical = page_tree_find(&memory->pages, index, order);
    return 0;
}

static int shared_memory_page(struct memory_object *object, uint64_t index, uint64_t *physical,
                              unsigned *order) {
    spin_lock(&object->lock);
    int error = find_or_make(shared_memory_of(object), index, physical, order);
    if (!error)
        page_get(*physical); // a hole may free it as soon as the lock is gone
    spin_unlock(&object->lock);
    return error;
}

static uint64_t block_end(uint64_t offset) {
    const uint64_t block = (uint64_t)PAGE_SIZE << PAGE_ORDER_2M;
    return (offset + block - 1) & ~(block - 1);
}

// Lock held. Block or page `index` goes where the policy wants it; false: it cannot.
static bool move_page(struct shared_memory *memory, uint64_t index, uint64_t physical,
                      unsigned order, struct numa_policy policy) {
    if (page_references(physical) > 1)
        return false;
    uint64_t copy = page_alloc_policy(policy, index, order, PAGE_SHARED);
    if (copy == PHYSICAL_NONE)
        return false;
    page_copy(page_to_virtual(copy), page_to_virtual(physical), PAGE_SIZE << order);
    page_tree_replace(&memory->pages, index, copy);
    return true;
}

// Lock held. False: a page in [first, end) stays outside the nodes.
static bool move_pages(struct shared_memory *memory, uint64_t first, uint64_t end,
                       struct numa_policy policy) {
    bool all = true;
    for (uint64_t index = first; index < end;) {
        unsigned order;
        uint64_t physical = page_tree_find(&memory->pages, index, &order);
        uint64_t pages = 1ull << order, within = index & (pages - 1);
        index += pages - within;
        if (physical != PHYSICAL_NONE && !numa_policy_allows(policy, physical))
            all &= move_page(memory, index - pages, physical - within * PAGE_SIZE, order, policy);
    }
    return all;
}

// What is mapped moves once all have forgotten it; who uses it meanwhile may have it again by then.
static int shared_memory_move(struct memory_object *object, uint64_t offset, uint64_t size,
                              struct numa_policy policy) {
    struct shared_memory *memory = shared_memory_of(object);
    uint64_t last = (offset + size + PAGE_SIZE - 1) >> PAGE_SHIFT;
    bool all = true;
    for (uint64_t at = offset >> PAGE_SHIFT, next; at < last; at = next) {
        bool moved = false;
        next = (at | (HUGE_PAGES - 1)) + 1 < last ? (at | (HUGE_PAGES - 1)) + 1 : last;
        for (unsigned tries = 0; tries < 10 && !moved; tries++) {
            if (tries)
                address_spaces_forget(object, (at & ~(HUGE_PAGES - 1ull)) << PAGE_SHIFT,
                                      block_end(next << PAGE_SHIFT));
            spin_lock(&object->lock);
            moved = move_pages(memory, at, next, policy);
            spin_unlock(&object->lock);
            thread_preemption_point();
        }
        all &= moved;
    }
    return all ? 0 : -EIO;
}

static void shared_memory_destroy(struct memory_object *object) {
    struct shared_memory *memory = shared_memory_of(object);
    page_tree_drop(&memory->pages);
    heap_free(memory);
}

static const struct memory_object_ops shared_memory_ops = {
    .page = shared_memory_page,
    .punch = shared_memory_punch,
    .move = shared_memory_move,
    .destroy = shared_memory_destroy,
};

struct memory_object *shared_memory_create(bool huge) {
    struct shared_memory *memory = heap_new(struct shared_memory);
    if (!memory)
        return NULL;
    memory->object.ops = &shared_memory_ops;
    atomic_store(&memory->object.references, 1);
    memory->huge = huge;
    return &memory->object;
}

// Lock held. Zeroes what is there of [offset, end), which lies in one 2 MiB block.
static void clear_part(struct shared_memory *memory, uint64_t offset, uint64_t end) {
    while (offset < end) {
        unsigned order;
        uint64_t physical = page_tree_find(&memory->pages, offset >> PAGE_SHIFT, &order);
        size_t within = offset & (PAGE_SIZE - 1), piece = PAGE_SIZE - within;
        if (piece > end - offset)
            piece = end - offset;
        if (physical != PHYSICAL_NONE)
            memset((char *)page_to_virtual(physical) + within, 0, piece);
        offset += piece;
    }
}

// A block that a hole begins or ends in becomes pages, so that those in the hole can go. It stays
// one where somebody has it pinned.
static void cut_block(struct memory_object *object, uint64_t offset) {
    struct shared_memory *memory = shared_memory_of(object);
    uint64_t end = block_end(offset);
    unsigned order = 0;
    spin_lock(&object->lock);
    bool there = page_tree_find(&memory->pages, offset >> PAGE_SHIFT, &order) != PHYSICAL_NONE;
    spin_unlock(&object->lock);
    if (!there || order != PAGE_ORDER_2M || offset == end)
        return;
    address_spaces_forget(object, end - ((uint64_t)PAGE_SIZE << PAGE_ORDER_2M), end);
    spin_lock(&object->lock);
    page_tree_demote(&memory->pages, offset >> PAGE_SHIFT);
    spin_unlock(&object->lock);
}

// A page that a device's DMA has pinned stays the file's: the device would go on with one that
// nobody else sees. So all must forget the pages first; what has a reference then is pinned, or was
// touched again meanwhile.
int shared_memory_punch(struct memory_object *object, uint64_t offset, uint64_t size) {
    enum { CHUNK = 2 * HUGE_PAGES }; // zeroed under one hold of the lock at most
    struct shared_memory *memory = shared_memory_of(object);
    uint64_t end = offset + size, head_end = block_end(offset);
    uint64_t tail = end & ~(((uint64_t)PAGE_SIZE << PAGE_ORDER_2M) - 1);
    uint64_t last = (end < memory->size ? end : memory->size) >> PAGE_SHIFT;
    cut_block(object, offset);
    cut_block(object, end);
    address_spaces_forget(object, offset & PAGE_MASK, (end + PAGE_SIZE - 1) & PAGE_MASK);
    for (uint64_t at = (offset + PAGE_SIZE - 1) >> PAGE_SHIFT, next; at < last; at = next) {
        next = (at / CHUNK + 1) * CHUNK < last ? (at / CHUNK + 1) * CHUNK : last;
        spin_lock(&object->lock);
        page_tree_punch(&memory->pages, at, next);
        spin_unlock(&object->lock);
        thread_preemption_point();
    }
    // Of pages and blocks that are not wholly inside the rest stays.
    spin_lock(&object->lock);
    clear_part(memory, offset, head_end < end ? head_end : end);
    clear_part(memory, tail > offset ? tail : offset, end);
    spin_unlock(&object->lock);
    return 0;
}

int shared_memory_extend(struct memory_object *object, uint64_t size) {
    struct shared_memory *memory = shared_memory_of(object);
    if (size > size_limit)
        return -EFBIG;
    spin_lock(&object->lock);
    if (memory->size < size)
        memory->size = size;
    spin_unlock(&object->lock);
    return 0;
}

// Lock held. Makes it shorter by as many pages as may go at once; false: it is not longer now.
static bool shorten(struct shared_memory *memory, uint64_t size) {
    uint64_t first = (size + PAGE_SIZE - 1) >> PAGE_SHIFT, last = page_tree_last(&memory->pages);
    if (size >= memory->size)
        return false;
    bool more = last != UINT64_MAX && last >= first + PAGE_TREE_CHUNK;
    if (more)
        first = last - PAGE_TREE_CHUNK;
    else // growing again must show zeroes, in a block too that stays because it begins before the
         // end
        clear_part(memory, size, block_end(size));
    page_tree_remove(&memory->pages, first, UINT64_MAX);
    memory->size = more ? first << PAGE_SHIFT : size;
    return true;
}

int shared_memory_resize(struct memory_object *object, uint64_t size) {
    struct shared_memory *memory = shared_memory_of(object);
    bool shorter = false;
    if (size > size_limit)
        return -EFBIG;
    cut_block(object, size);
    for (bool longer = true; longer;) {
        spin_lock(&object->lock);
        longer = shorten(memory, size);
        if (!longer)
            memory->size = size;
        spin_unlock(&object->lock);
        shorter |= longer;
        thread_preemption_point();
    }
    if (shorter)
        address_spaces_forget(object, (size + PAGE_SIZE - 1) & PAGE_MASK, UINT64_MAX);
    return 0;
}

// A reference on page `index` for a copy outside the lock. *physical PHYSICAL_NONE: a hole (only if
// !make).
static int page_hold(struct shared_memory *memory, uint64_t index, bool make, uint64_t *physical) {
    unsigned order = 0;
    int error = 0;
    spin_lock(&memory->object.lock);
    if (make)
        error = find_or_make(memory, index, physical, &order);
    else
        *physical = page_tree_find(&memory->pages, index, &order);
    if (!error && *physical != PHYSICAL_NONE)
        page_get(*physical);
    spin_unlock(&memory->object.lock);
    return error;
}

static size_t piece_at(uint64_t offset, size_t left) {
    size_t rest = PAGE_SIZE - (offset & (PAGE_SIZE - 1));
    return left < rest ? left : rest;
}

int64_t shared_memory_read(struct memory_object *object, uint64_t offset, void *to, size_t size) {
    struct shared_memory *memory = shared_memory_of(object);
    uint64_t end = memory->size;
    if (offset >= end)
        return 0;
    if (size > end - offset)
        size = end - offset;
    for (size_t done = 0; done < size;) {
        uint64_t at = offset + done, physical;
        size_t piece = piece_at(at, size - done);
        page_hold(memory, at >> PAGE_SHIFT, false, &physical);
        if (physical == PHYSICAL_NONE) {
            memset((char *)to + done, 0, piece);
        } else {
            char *from = page_to_virtual(physical & PAGE_MASK);
            memcpy((char *)to + done, from + (at & (PAGE_SIZE - 1)), piece);
            page_put(physical);
        }
        done += piece;
    }
    return (int64_t)size;
}

int64_t shared_memory_write(struct memory_object *object, uint64_t offset, const void *from,
                            size_t size) {
    struct shared_memory *memory = shared_memory_of(object);
    if (offset > size_limit || size > size_limit - offset)
        return -EFBIG;
    shared_memory_extend(object, offset + size);
    size_t done = 0;
    while (done < size) {
        uint64_t at = offset + done, physical;
        size_t piece = piece_at(at, size - done);
        int error = page_hold(memory, at >> PAGE_SHIFT, true, &physical);
        if (error)
            return done ? (int64_t)done : error;
        char *to = page_to_virtual(physical);
        memcpy(to + (at & (PAGE_SIZE - 1)), (const char *)from + done, piece);
        page_put(physical);
        done += piece;
    }
    return (int64_t)size;
}
