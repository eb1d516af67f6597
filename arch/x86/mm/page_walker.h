// SPDX-License-Identifier: BSD-2-Clause
// One walker for all page tables. Plain memory operations only, so the unit tests run it
// on the build host. The caller holds whatever lock guards the table; CPUs and devices may set
// accessed and dirty bits meanwhile, hence the atomics.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/mm/page_format.h"

// An empty top table; PHYSICAL_NONE: no memory. Tables come from page_alloc_zeroed and go by
// page_put.
uint64_t page_walker_create(const struct page_format *format);
// Frees all tables, root too, not the pages they map.
void page_walker_destroy(const struct page_format *format, uint64_t root);
// Frees the tables below root's entries [first, last], not the pages they map and not root itself.
void page_walker_free_tables(const struct page_format *format, uint64_t root, unsigned first,
                             unsigned last);
// Whether leaves of this size may be used.
bool page_walker_allows(const struct page_format *format, uint64_t size);

// Maps one page of 4 KiB, 2 MiB or 1 GiB (both addresses aligned to it). 0; -ENOMEM; -EEXIST:
// leaves of another size are in the way.
int page_walker_map(const struct page_format *format, uint64_t root, uint64_t address,
                    uint64_t physical, uint64_t size, unsigned flags);
struct page_table_entry page_walker_lookup(const struct page_format *format, uint64_t root,
                                           uint64_t address);
// Takes the leaf away; returns what it was (accessed and dirty as the CPU left them). No TLB flush.
struct page_table_entry page_walker_unmap(const struct page_format *format, uint64_t root,
                                          uint64_t address);
// Takes all leaves that touch the range away (a large one that juts out goes as a whole), and the
// tables that are empty then, as page_walker_prune. True if there were any. No TLB flush.
bool page_walker_zap(const struct page_format *format, uint64_t root, uint64_t address,
                     uint64_t size, uint64_t *unhooked);
// Takes the tables that touch the range and are empty out of the tree, so that larger leaves can
// stand there, and adds them to the list *unhooked (0: empty list). They are free only when no CPU
// can walk them any more: page_walker_release after the TLB flush.
void page_walker_prune(const struct page_format *format, uint64_t root, uint64_t address,
                       uint64_t size, uint64_t *unhooked);
void page_walker_release(uint64_t unhooked);
// Changes the rights of the leaf, keeps accessed and dirty. False: nothing there.
bool page_walker_protect(const struct page_format *format, uint64_t root, uint64_t address,
                         unsigned flags);
// Replaces a 2 MiB or 1 GiB leaf by 512 of the next size with the same rights. 0 (also when there
// is nothing to split) or -ENOMEM.
int page_walker_split(const struct page_format *format, uint64_t root, uint64_t address);
// Clears accessed and/or dirty of the leaf; returns the entry as it was before.
struct page_table_entry page_walker_clear_marks(const struct page_format *format, uint64_t root,
                                                uint64_t address, bool accessed, bool dirty);
