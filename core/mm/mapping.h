// SPDX-License-Identifier: BSD-2-Clause
// One mapping (VMA) of an address space, and the balanced tree of them that also finds free room.
// Inside core/mm only.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/list.h"
#include "core/mm/numa.h"

struct memory_object;

enum mapping_flags {
    MAPPING_SHARED = 1,
    MAPPING_STACK = 2,   // never huge pages
    MAPPING_HUGE = 4,    // MADV_HUGEPAGE
    MAPPING_NO_HUGE = 8, // MADV_NOHUGEPAGE
    MAPPING_NO_WRITE =
        16, // shared view of a file that is not open for writing: PROT_WRITE is refused
    MAPPING_DONT_FORK = 32,    // MADV_DONTFORK
    MAPPING_WIPE_ON_FORK = 64, // MADV_WIPEONFORK
};

struct mapping {
    struct mapping *child[2];     // with lower addresses, with higher ones
    uint64_t start, end;          // bytes, page aligned
    uint64_t gap;                 // free bytes just below start
    uint64_t widest_gap;          // of the subtree
    struct list node;             // in address order
    struct memory_object *object; // NULL: private anonymous memory. Holds a reference
    uint64_t offset;              // of start in the object
    uint8_t prot;                 // PROT_*
    uint8_t flags;                // enum mapping_flags
    int8_t height;
    struct numa_policy policy; // mbind(2)
};

struct mapping_tree {
    struct mapping *root;
    struct list list; // in address order
    unsigned count;
};

void mapping_tree_init(struct mapping_tree *tree);
// The mapping that contains address, else the next one above it; NULL: none.
struct mapping *mapping_tree_at_or_above(const struct mapping_tree *tree, uint64_t address);
// The caller has made sure that nothing overlaps.
void mapping_tree_insert(struct mapping_tree *tree, struct mapping *mapping);
void mapping_tree_remove(struct mapping_tree *tree, struct mapping *mapping);
// After mapping->end changed in place (within free room or shrinking).
void mapping_tree_end_changed(struct mapping_tree *tree, struct mapping *mapping);
// Highest free start of size bytes, aligned to `align`, within [low, high); 0: no room.
uint64_t mapping_tree_find_gap(const struct mapping_tree *tree, uint64_t size, uint64_t align,
                               uint64_t low, uint64_t high);
struct mapping *mapping_next(const struct mapping_tree *tree, const struct mapping *mapping);
struct mapping *mapping_previous(const struct mapping_tree *tree, const struct mapping *mapping);
