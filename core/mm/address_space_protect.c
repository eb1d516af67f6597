// SPDX-License-Identifier: BSD-2-Clause
// Changes to mappings that stay where they are: mprotect, madvise.
#include <asm/errno.h>
#include <linux/mman.h>
#include "core/mm/address_space.h"
#include "core/mm/leaf_range.h"
#include "core/mm/mapping_change.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"

static uint64_t page_up(uint64_t size) {
    return (size + PAGE_SIZE - 1) & PAGE_MASK;
}

static int check_range(uint64_t address, uint64_t size) {
    if ((address & (PAGE_SIZE - 1)) || size > USER_END)
        return -EINVAL;
    return address > USER_END - page_up(size) ? -ENOMEM : 0;
}

// Whether mappings cover [start, end) without a hole; *flags: all their flags.
static bool covered(const struct address_space *space, uint64_t start, uint64_t end,
                    unsigned *flags) {
    const struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, start);
    for (*flags = 0; mapping && mapping->start <= start;
         mapping = mapping_next(&space->mappings, mapping)) {
        *flags |= mapping->flags;
        start = mapping->end;
        if (start >= end)
            return true;
    }
    return false;
}

struct attributes {
    int prot; // -1: as it is
    uint8_t set_flags, clear_flags;
};

// Lock held for each mapping only: changes are exclusive, and a fault sees each mapping before or
// after.
static int set_attributes(struct mapping_change *change, uint64_t start, uint64_t end,
                          const struct attributes *attributes) {
    struct address_space *space = change->space;
    int error = mapping_change_cut(change, start);
    if (!error)
        error = mapping_change_cut(change, end);
    struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, start);
    for (; !error && mapping && mapping->start < end;
         mapping = mapping_next(&space->mappings, mapping)) {
        spin_lock(&space->lock);
        if (attributes->prot >= 0)
            mapping->prot = (uint8_t)attributes->prot;
        mapping->flags =
            (uint8_t)((mapping->flags & ~attributes->clear_flags) | attributes->set_flags);
        spin_unlock(&space->lock);
    }
    if (!error && attributes->prot >= 0)
        leaves_protect(space, start, end);
    mapping_change_join(change, start, end);
    return error;
}

int address_space_protect(struct address_space *space, uint64_t address, uint64_t size, int prot) {
    if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM))
        return -EINVAL;
    int error = check_range(address, size);
    if (error || !size)
        return error;
    struct attributes attributes = {.prot = prot & (PROT_READ | PROT_WRITE | PROT_EXEC)};
    struct mapping_change change;
    error = mapping_change_begin(&change, space);
    if (error)
        return error;
    uint64_t end = address + page_up(size);
    unsigned flags;
    if (!covered(space, address, end, &flags))
        error = -ENOMEM;
    else if ((prot & PROT_WRITE) && (flags & MAPPING_NO_WRITE))
        error = -EACCES;
    else
        error = set_attributes(&change, address, end, &attributes);
    mapping_change_end(&change);
    return error;
}

static int populate(struct address_space *space, uint64_t start, uint64_t end, enum access access) {
    while (start < end) {
        struct user_page page;
        int error = address_space_page(space, start, access, &page);
        if (error)
            return error == -ENXIO ? -EFAULT : error;
        start = (start & ~(page.size - 1)) + page.size;
        thread_preemption_point();
    }
    return 0;
}

static int drop(struct address_space *space, uint64_t start, uint64_t end, bool private_only) {
    struct mapping_change change;
    int error = mapping_change_begin(&change, space);
    if (error)
        return error;
    unsigned flags;
    bool whole = covered(space, start, end, &flags);
    if (private_only && (flags & MAPPING_SHARED))
        error = -EINVAL;
    if (!error)
        error = leaves_cut(space, start);
    if (!error)
        error = leaves_cut(space, end);
    // Outside mappings there are no leaves, so holes do no harm; they are only reported.
    if (!error)
        leaves_drop(space, start, end, false);
    mapping_change_end(&change);
    return error ? error : whole ? 0 : -ENOMEM;
}

// Makes holes in what shared mappings show.
static int remove_content(struct address_space *space, uint64_t start, uint64_t end) {
    for (uint64_t at = start, next; at < end; at = next) {
        spin_lock(&space->lock);
        const struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, at);
        bool found = mapping && mapping->start <= at;
        struct memory_object *object = found ? mapping->object : NULL;
        uint64_t offset = found ? mapping->offset + (at - mapping->start) : 0;
        bool allowed = object && (mapping->flags & MAPPING_SHARED) &&
                       !(mapping->flags & MAPPING_NO_WRITE) && object->ops->punch;
        next = found && mapping->end < end ? mapping->end : end;
        if (allowed)
            memory_object_get(object);
        spin_unlock(&space->lock);
        if (!allowed)
            return !found ? -ENOMEM : object && !object->ops->punch ? -EINVAL : -EACCES;
        int error = object->ops->punch(object, offset, next - at);
        memory_object_put(object);
        if (error)
            return error;
    }
    return 0;
}

static int set_flags(struct address_space *space, uint64_t start, uint64_t end, uint8_t set,
                     uint8_t clear) {
    struct attributes attributes = {.prot = -1, .set_flags = set, .clear_flags = clear};
    struct mapping_change change;
    int error = mapping_change_begin(&change, space);
    if (error)
        return error;
    unsigned flags;
    bool whole = covered(space, start, end, &flags);
    error = set_attributes(&change, start, end, &attributes);
    mapping_change_end(&change);
    return error ? error : whole ? 0 : -ENOMEM;
}

// Advice that is kept in a mapping.
static const struct {
    int advice;
    uint8_t set, clear;
} flag_advice[] = {
    {MADV_HUGEPAGE, MAPPING_HUGE, MAPPING_NO_HUGE},
    {MADV_NOHUGEPAGE, MAPPING_NO_HUGE, MAPPING_HUGE},
    {MADV_DONTFORK, MAPPING_DONT_FORK, 0},
    {MADV_DOFORK, 0, MAPPING_DONT_FORK},
    {MADV_WIPEONFORK, MAPPING_WIPE_ON_FORK, 0},
    {MADV_KEEPONFORK, 0, MAPPING_WIPE_ON_FORK},
};

int address_space_advise(struct address_space *space, uint64_t address, uint64_t size, int advice) {
    if (address & (PAGE_SIZE - 1))
        return -EINVAL;
    int error = check_range(address, size);
    uint64_t end = address + page_up(size);
    for (unsigned i = 0; i < sizeof flag_advice / sizeof *flag_advice; i++)
        if (advice == flag_advice[i].advice)
            return error || !size
                       ? error
                       : set_flags(space, address, end, flag_advice[i].set, flag_advice[i].clear);
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_FREE: // allowed to keep the content, but not bound to
        return error || !size ? error : drop(space, address, end, advice == MADV_FREE);
    case MADV_POPULATE_READ:
    case MADV_POPULATE_WRITE:
        return error ? error
                     : populate(space, address, end,
                                advice == MADV_POPULATE_WRITE ? ACCESS_WRITE : ACCESS_READ);
    case MADV_REMOVE:
        return error ? error : remove_content(space, address, end);
    // Hints about paging, dumps and page sharing: there is nothing here that they would change.
    case MADV_NORMAL:
    case MADV_RANDOM:
    case MADV_SEQUENTIAL:
    case MADV_WILLNEED:
    case MADV_MERGEABLE:
    case MADV_UNMERGEABLE:
    case MADV_DONTDUMP:
    case MADV_DODUMP:
    case MADV_COLD:
    case MADV_PAGEOUT:
        return error;
    default:
        return -EINVAL;
    }
}
