// SPDX-License-Identifier: BSD-2-Clause
// A copy of an address space, as fork(2) makes it.
#include <asm/errno.h>
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/leaf_range.h"
#include "core/mm/mapping_change.h"
#include "core/mm/memory_object.h"

// What an object shows is left to the child's faults.
static int copy_mapping(struct address_space *space, struct address_space *child,
                        const struct mapping *model) {
    struct mapping *mapping = heap_new(struct mapping);
    if (!mapping)
        return -ENOMEM;
    *mapping = *model;
    if (mapping->object)
        memory_object_get(mapping->object);
    mapping_tree_insert(&child->mappings, mapping);
    return model->flags & (MAPPING_SHARED | MAPPING_WIPE_ON_FORK)
               ? 0
               : leaves_share(space, child, model);
}

struct address_space *address_space_fork(struct address_space *space) {
    struct address_space *child = address_space_create();
    struct mapping_change change;
    if (!child)
        return NULL;
    int error = mapping_change_begin(&change, space);
    if (!error) {
        // Only the owner of `changing` alters the tree.
        const struct mapping *mapping = mapping_tree_at_or_above(&space->mappings, 0);
        for (; mapping && !error; mapping = mapping_next(&space->mappings, mapping))
            if (!(mapping->flags & MAPPING_DONT_FORK))
                error = copy_mapping(space, child, mapping);
        mapping_change_end(&change);
    }
    child->brk_start = space->brk_start;
    child->brk_end = space->brk_end;
    child->map_top = space->map_top;
    if (!error)
        return child;
    address_space_put(child);
    return NULL;
}
