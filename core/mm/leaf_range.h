// SPDX-License-Identifier: BSD-2-Clause
// Work on the page-table leaves of a range, in chunks of bounded length. Inside core/mm only. All
// are called without the space's lock and by the owner of `changing` (or at the end of the space's
// life), except leaves_drop of file pages.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "core/mm/numa.h"

struct address_space;
struct mapping;

#define HUGE_SIZE (2ull << 20)

// Takes leaves away, tells listeners and TLBs, frees pages. keep_anonymous: leaves private pages
// alone.
void leaves_drop(struct address_space *space, uint64_t start, uint64_t end, bool keep_anonymous);
// Gives leaves the rights that their mappings have now.
void leaves_protect(struct address_space *space, uint64_t start, uint64_t end);
// Moves what is mapped at [from, from + size) to `to`; no mapping covers either. 0, or -ENOMEM with
// *moved bytes done.
int leaves_move(struct address_space *space, uint64_t from, uint64_t to, uint64_t size,
                uint64_t *moved);
// Makes sure no leaf straddles `address`. Faults may call it too. 0 or -ENOMEM.
int leaves_cut(struct address_space *space, uint64_t address);
// The private pages of a mapping become the child's too, nobody's to write to. No other CPU knows
// the child. 0 or -ENOMEM.
int leaves_share(struct address_space *space, struct address_space *child,
                 const struct mapping *mapping);
// Private pages outside the policy's nodes go there, but those that somebody else has or for which
// there is no room. The first write to one is a fault.
void leaves_move_nodes(struct address_space *space, uint64_t start, uint64_t end,
                       struct numa_policy policy);
// A fault's: puts `copy` in the place of a page of this size that others share, with its content.
// It cannot be written to before the caller drops its own reference on it: by then nobody sees the
// old page here.
void leaf_copy(struct address_space *space, uint64_t address, uint64_t copy, uint64_t size);
// PAGING_* of a leaf of this mapping that shows `physical`.
unsigned leaf_flags(const struct mapping *mapping, uint64_t physical);
