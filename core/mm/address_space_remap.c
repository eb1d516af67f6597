// SPDX-License-Identifier: BSD-2-Clause
// mremap: a mapping grows, shrinks or moves with its pages.
#include <asm/errno.h>
#include <linux/mman.h>
#include "core/mm/address_space.h"
#include "core/mm/leaf_range.h"
#include "core/mm/mapping_change.h"
#include "core/mm/page.h"

struct remap {
    uint64_t address, old_size, new_size, new_address;
    unsigned flags;
};

static bool grow_in_place(struct address_space *space, struct mapping *mapping,
                          const struct remap *remap) {
    uint64_t end = remap->address + remap->new_size;
    const struct mapping *next = mapping_next(&space->mappings, mapping);
    if (mapping->end != remap->address + remap->old_size || end > USER_END ||
        (next && next->start < end))
        return false;
    spin_lock(&space->lock);
    mapping->end = end;
    mapping_tree_end_changed(&space->mappings, mapping);
    spin_unlock(&space->lock);
    return true;
}

// Room for the moved mapping, at the same place within 2 MiB if there is such room, so that huge
// pages move whole. 0: none.
static uint64_t find_room(const struct address_space *space, const struct remap *remap) {
    uint64_t within = remap->address & (HUGE_SIZE - 1), low = HUGE_SIZE;
    uint64_t found = mapping_tree_find_gap(&space->mappings, within + remap->new_size, HUGE_SIZE,
                                           low, space->map_top);
    if (found)
        return found + within;
    return mapping_tree_find_gap(&space->mappings, remap->new_size, PAGE_SIZE, low, space->map_top);
}

// Moves the leaves of a mapping that is out of the tree; puts back what went when there is no
// memory for tables.
static int move_leaves(struct address_space *space, uint64_t from, uint64_t to, uint64_t size) {
    uint64_t moved, back;
    int error = leaves_move(space, from, to, size, &moved);
    if (error)
        leaves_move(space, to, from, moved, &back); // the tables of the old place are still there
    return error;
}

static int64_t move(struct mapping_change *change, const struct remap *remap) {
    struct address_space *space = change->space;
    uint64_t from = remap->address, to = remap->new_address;
    uint64_t size = remap->old_size < remap->new_size ? remap->old_size : remap->new_size;
    int error = 0;
    if (remap->flags & MREMAP_FIXED)
        error = mapping_change_unmap(change, to, to + remap->new_size);
    else
        to = find_room(space, remap);
    if (!to)
        error = -ENOMEM;
    if (!error)
        error = mapping_change_cut(change, from);
    if (!error)
        error = mapping_change_cut(change, from + remap->old_size);
    if (error)
        return error;
    struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, from);
    spin_lock(&space->lock);
    space->cached = NULL;
    mapping_tree_remove(&space->mappings, mapping);
    spin_unlock(&space->lock);
    error = move_leaves(space, from, to, size);
    if (!error) {
        leaves_drop(space, from, from + remap->old_size, false); // what was moved left empty tables
        mapping->start = to;
        mapping->end = to + remap->new_size;
    }
    mapping_change_insert(change, mapping);
    return error ? error : (int64_t)to;
}

static int64_t remap_locked(struct mapping_change *change, const struct remap *remap) {
    struct address_space *space = change->space;
    uint64_t address = remap->address;
    struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, address);
    if (!mapping || mapping->start > address || mapping->end - address < remap->old_size)
        return -EFAULT;
    if (remap->flags & MREMAP_FIXED)
        return move(change, remap);
    if (remap->new_size <= remap->old_size) {
        int error = 0;
        if (remap->new_size < remap->old_size)
            error =
                mapping_change_unmap(change, address + remap->new_size, address + remap->old_size);
        return error ? error : (int64_t)address;
    }
    if (grow_in_place(space, mapping, remap))
        return (int64_t)address;
    return remap->flags & MREMAP_MAYMOVE ? move(change, remap) : -ENOMEM;
}

static int check_remap(const struct remap *remap) {
    if ((remap->flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) || (remap->address & (PAGE_SIZE - 1)) ||
        !remap->new_size || !remap->old_size)
        return -EINVAL;
    if (remap->address > USER_END || remap->old_size > USER_END - remap->address)
        return -EFAULT;
    if (remap->new_size > USER_END)
        return -ENOMEM;
    if (!(remap->flags & MREMAP_FIXED))
        return 0;
    uint64_t to = remap->new_address;
    bool overlap = to < remap->address + remap->old_size && remap->address < to + remap->new_size;
    if (!(remap->flags & MREMAP_MAYMOVE) || (to & (PAGE_SIZE - 1)) || to < HUGE_SIZE ||
        to > USER_END - remap->new_size || overlap)
        return -EINVAL;
    return 0;
}

int64_t address_space_remap(struct address_space *space, uint64_t address, uint64_t old_size,
                            uint64_t new_size, unsigned flags, uint64_t new_address) {
    if (old_size > USER_END || new_size > USER_END)
        return -EINVAL;
    struct remap remap = {
        .address = address,
        .old_size = (old_size + PAGE_SIZE - 1) & PAGE_MASK,
        .new_size = (new_size + PAGE_SIZE - 1) & PAGE_MASK,
        .new_address = new_address,
        .flags = flags,
    };
    int64_t result = check_remap(&remap);
    if (result)
        return result;
    struct mapping_change change;
    result = mapping_change_begin(&change, space);
    if (result)
        return result;
    result = remap_locked(&change, &remap);
    mapping_change_end(&change);
    return result;
}
