// SPDX-License-Identifier: BSD-2-Clause
// The frame of every change of mappings: exclusive against other changes, with the memory it needs
// in hand. Inside core/mm only.
#pragma once
#include <stdint.h>

struct address_space;
struct mapping;

enum { MAPPING_LIMIT = 65530 }; // as Linux's default vm.max_map_count

struct mapping_change {
    struct address_space *space;
    struct mapping *spare[4]; // mremap to a fixed place: two cuts there, two here
};

// 0; -ENOMEM; -EINTR: killed while waiting for another change.
int mapping_change_begin(struct mapping_change *change, struct address_space *space);
// The same for a change that cuts nothing and cannot be left out: it has no spares, and always
// comes.
void mapping_change_force(struct mapping_change *change, struct address_space *space);
void mapping_change_end(struct mapping_change *change);
// Waits until no change is under way (it may be again on return). 0 or -EINTR.
int mapping_change_wait(struct address_space *space);

// Takes a spare; NULL: too many mappings.
struct mapping *mapping_change_take(struct mapping_change *change);
// Makes sure no mapping and no leaf straddles `address`. 0 or -ENOMEM.
int mapping_change_cut(struct mapping_change *change, uint64_t address);
// Unmaps [start, end). 0 or -ENOMEM (nothing unmapped then).
int mapping_change_unmap(struct mapping_change *change, uint64_t start, uint64_t end);
// Puts it into the tree and joins it with equal neighbours. Takes the lock.
void mapping_change_insert(struct mapping_change *change, struct mapping *mapping);
// Joins equal neighbours in and around [start, end).
void mapping_change_join(struct mapping_change *change, uint64_t start, uint64_t end);
// Drops its object and frees it; it is in no tree.
void mapping_free(struct mapping *mapping);
