// SPDX-License-Identifier: BSD-2-Clause
// NUMA policies of mappings: mbind and get_mempolicy.
#include <asm/errno.h>
#include <linux/mempolicy.h>
#include "arch/x86/paging.h"
#include "core/mm/address_space.h"
#include "core/mm/leaf_range.h"
#include "core/mm/mapping_change.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"

int address_space_policy(struct address_space *space, uint64_t address,
                         struct numa_policy *policy) {
    spin_lock(&space->lock);
    const struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, address);
    bool mapped = mapping && mapping->start <= address;
    if (mapped && mapping->policy.mode != MPOL_DEFAULT)
        *policy = mapping->policy;
    spin_unlock(&space->lock);
    return mapped ? 0 : -EFAULT;
}

// Whether a page that is present lies outside the nodes that the policy wants it on.
static bool misplaced(struct address_space *space, uint64_t start, uint64_t end,
                      struct numa_policy policy) {
    for (uint64_t address = start; address < end;) {
        spin_lock(&space->lock);
        struct page_table_entry entry = page_table_lookup(space->page_table, address);
        spin_unlock(&space->lock);
        if (entry.size && !numa_policy_allows(policy, entry.physical))
            return true;
        address =
            entry.size ? (address & ~(entry.size - 1)) + entry.size : address + entry.hole_size;
        thread_preemption_point();
    }
    return false;
}

// Of what mappings show in the range. 0 or -EIO.
static int move_content(struct address_space *space, uint64_t start, uint64_t end,
                        struct numa_policy policy) {
    int error = 0;
    for (uint64_t next; start < end; start = next) {
        struct memory_object *object = NULL;
        uint64_t offset = 0;
        spin_lock(&space->lock);
        const struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, start);
        next = mapping && mapping->end < end ? mapping->end : end;
        if (mapping && mapping->start < end && mapping->object && mapping->object->ops->move) {
            object = mapping->object;
            start = start > mapping->start ? start : mapping->start;
            offset = mapping->offset + (start - mapping->start);
            memory_object_get(object);
        }
        spin_unlock(&space->lock);
        if (!object)
            continue;
        int moved = object->ops->move(object, offset, next - start, policy);
        error = moved ? moved : error;
        memory_object_put(object);
    }
    return error;
}

int address_space_bind(struct address_space *space, uint64_t start, uint64_t end,
                       struct numa_policy policy, unsigned flags) {
    bool strict = flags & MPOL_MF_STRICT && policy.nodes;
    bool move = flags & (MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) && policy.nodes;
    struct mapping_change change;
    int error = mapping_change_begin(&change, space);
    if (error)
        return error;
    if (strict && !move && misplaced(space, start, end, policy))
        error = -EIO;
    if (!error)
        error = mapping_change_cut(&change, start);
    if (!error)
        error = mapping_change_cut(&change, end);
    uint64_t covered = start;
    struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, start);
    for (; !error && mapping && mapping->start < end;
         mapping = mapping_next(&space->mappings, mapping)) {
        if (mapping->start == covered)
            covered = mapping->end;
        spin_lock(&space->lock);
        mapping->policy = policy;
        spin_unlock(&space->lock);
    }
    if (move && !error)
        leaves_move_nodes(space, start, end, policy);
    mapping_change_join(&change, start, end);
    mapping_change_end(&change);
    if (move && !error) {
        error = move_content(space, start, end, policy);
        error = strict && (error || misplaced(space, start, end, policy)) ? -EIO : 0;
    }
    return error ? error : covered < end ? -EFAULT : 0; // a hole is reported, as Linux does
}
