// SPDX-License-Identifier: BSD-2-Clause
// NUMA policies of mappings: mbind and get_mempolicy.
#include <asm/errno.h>
#include <linux/mempolicy.h>
#include "arch/x86/paging.h"
#include "core/mm/address_space.h"
#include "core/mm/mapping_change.h"
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
        if (entry.size && !(policy.nodes >> numa_node_of(entry.physical, NULL) & 1))
            return true;
        address =
            entry.size ? (address & ~(entry.size - 1)) + entry.size : address + entry.hole_size;
        thread_preemption_point();
    }
    return false;
}

int address_space_bind(struct address_space *space, uint64_t start, uint64_t end,
                       struct numa_policy policy, bool strict) {
    struct mapping_change change;
    int error = mapping_change_begin(&change, space);
    if (error)
        return error;
    if (strict && policy.nodes && misplaced(space, start, end, policy))
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
    mapping_change_join(&change, start, end);
    mapping_change_end(&change);
    return error ? error : covered < end ? -EFAULT : 0; // a hole is reported, as Linux does
}
