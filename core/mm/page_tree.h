// SPDX-License-Identifier: BSD-2-Clause
// A radix tree from page index to page: the content of a memory object. No lock of its own. Each
// page in it holds one reference.
#pragma once
#include <stdint.h>
#include "core/mm/page.h"

struct page_tree {
    uint64_t root;   // a slot: see page_tree.c
    unsigned height; // levels of nodes; 0: the tree is one page at index 0
};

// Physical address of page `index`, and the order (0 or 9) of the entry it lies in; PHYSICAL_NONE:
// none, nor in the naturally aligned block of that order around it.
uint64_t page_tree_find(const struct page_tree *tree, uint64_t index, unsigned *order);
// Puts a page (order 0) or 2 MiB block (order 9, index a multiple of 512) in, with the caller's
// reference. 0, -EEXIST when any part of it is there already, -ENOMEM.
int page_tree_insert(struct page_tree *tree, uint64_t index, unsigned order, uint64_t physical);
// Drops the pages in [first, end); of a block that is not wholly inside, nothing.
void page_tree_remove(struct page_tree *tree, uint64_t first, uint64_t end);
// The same, but what others have a reference on stays, zeroed.
void page_tree_punch(struct page_tree *tree, uint64_t first, uint64_t end);
// The 2 MiB block around index becomes pages, if nobody but the tree has a reference on it and
// there is memory.
void page_tree_demote(struct page_tree *tree, uint64_t index);
// Another page, or block of the same order, in the place of the one at index, which is there.
void page_tree_replace(struct page_tree *tree, uint64_t index, uint64_t physical);

// The index of the last page, of a block that of its first; UINT64_MAX: there is none.
uint64_t page_tree_last(const struct page_tree *tree);
enum { PAGE_TREE_CHUNK = 8192 }; // pages that may be dropped at once
// Drops all pages, with preemption points. No lock held; nobody else knows the tree.
void page_tree_drop(struct page_tree *tree);
