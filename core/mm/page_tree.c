// SPDX-License-Identifier: BSD-2-Clause
// Radix tree of 512-entry nodes. A slot is 0, a node's address, or a page's physical address with
// bit 0 set (in a slot of level 1: a 2 MiB block).
#include "core/mm/page_tree.h"
#include <asm/errno.h>
#include <stdbool.h>
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/sched/thread.h"

enum { NODE_BITS = 9, NODE_SLOTS = 1 << NODE_BITS, MAX_HEIGHT = 5 };
#define SLOT_PAGE 1ull

static bool slot_is_page(uint64_t slot) {
    return slot & SLOT_PAGE;
}

static uint64_t *slot_node(uint64_t slot) {
    return (uint64_t *)(uintptr_t)slot;
}

static bool covers(unsigned height, uint64_t index) {
    return height >= MAX_HEIGHT || index >> (height * NODE_BITS) == 0;
}

static unsigned slot_number(uint64_t index, unsigned level) {
    return index >> (level * NODE_BITS) & (NODE_SLOTS - 1);
}

// The slot that has the page, or is empty: then of the highest level. NULL: above the tree.
static uint64_t *slot_find(uint64_t *slot, unsigned height, uint64_t index, unsigned *level) {
    *level = *slot ? height : MAX_HEIGHT;
    if (!covers(*level, index))
        return NULL;
    while (*slot && !slot_is_page(*slot))
        slot = &slot_node(*slot)[slot_number(index, --*level)];
    return slot;
}

uint64_t page_tree_find(const struct page_tree *tree, uint64_t index, unsigned *order) {
    uint64_t root = tree->root;
    const uint64_t *found = slot_find(&root, tree->height, index, order);
    uint64_t slot = found ? *found : 0;
    *order *= NODE_BITS;
    if (!slot)
        return PHYSICAL_NONE;
    uint64_t within = index & ((1ull << *order) - 1);
    return (slot & ~SLOT_PAGE) + (within << PAGE_SHIFT);
}

static uint64_t *node_create(void) {
    return heap_alloc(PAGE_SIZE);
}

// Adds levels above the root until `index` fits, at least `height` of them.
static int grow(struct page_tree *tree, uint64_t index, unsigned height) {
    while (!covers(tree->height, index) || tree->height < height) {
        if (tree->root) {
            uint64_t *node = node_create();
            if (!node)
                return -ENOMEM;
            node[0] = tree->root;
            tree->root = (uintptr_t)node;
        }
        tree->height++;
    }
    return 0;
}

int page_tree_insert(struct page_tree *tree, uint64_t index, unsigned order, uint64_t physical) {
    unsigned target = order / NODE_BITS;
    if (index >> (MAX_HEIGHT * NODE_BITS))
        return -ENOMEM;
    if (grow(tree, index, target))
        return -ENOMEM;
    uint64_t *slot = &tree->root;
    for (unsigned level = tree->height; level > target; level--) {
        if (slot_is_page(*slot))
            return -EEXIST;
        if (!*slot) {
            uint64_t *node = node_create();
            if (!node) { // page_tree_last must not meet the empty ones above
                page_tree_remove(tree, index, index + 1);
                return -ENOMEM;
            }
            *slot = (uintptr_t)node;
        }
        slot = &slot_node(*slot)[slot_number(index, level - 1)];
    }
    if (*slot)
        return -EEXIST;
    *slot = physical | SLOT_PAGE;
    return 0;
}

// Drops what lies wholly in [first, end), indices relative to the slot; what others have a
// reference on, too, only if held_too, else it is zeroed. True: the slot is empty now. Depth is at
// most MAX_HEIGHT.
static bool slot_remove(uint64_t *slot, unsigned level, uint64_t first, uint64_t end,
                        bool held_too) {
    if (!*slot)
        return true;
    if (slot_is_page(*slot)) {
        if (first > 0 || end >> level * NODE_BITS == 0)
            return false;
        uint64_t physical = *slot & ~SLOT_PAGE;
        if (!held_too && page_references(physical) > 1) {
            page_clear(page_to_virtual(physical), PAGE_SIZE << level * NODE_BITS);
            return false;
        }
        page_put(physical);
        *slot = 0;
        return true;
    }
    ASSERT(level > 0);
    uint64_t *node = slot_node(*slot);
    unsigned shift = (level - 1) * NODE_BITS;
    bool empty = true;
    for (unsigned i = 0; i < NODE_SLOTS; i++) {
        uint64_t base = (uint64_t)i << shift, next = base + (1ull << shift);
        if (first >= next || end <= base)
            empty = empty && !node[i];
        else
            empty = slot_remove(&node[i], level - 1, first > base ? first - base : 0, end - base,
                                held_too) &&
                    empty;
    }
    if (empty) {
        heap_free(node);
        *slot = 0;
    }
    return empty;
}

void page_tree_remove(struct page_tree *tree, uint64_t first, uint64_t end) {
    if (slot_remove(&tree->root, tree->height, first, end, true))
        tree->height = 0;
}

void page_tree_punch(struct page_tree *tree, uint64_t first, uint64_t end) {
    if (slot_remove(&tree->root, tree->height, first, end, false))
        tree->height = 0;
}

void page_tree_demote(struct page_tree *tree, uint64_t index) {
    unsigned level;
    uint64_t *slot = slot_find(&tree->root, tree->height, index, &level);
    uint64_t physical = slot ? *slot & ~SLOT_PAGE : 0;
    if (!physical || level != 1 || page_references(physical) != 1)
        return;
    uint64_t *node = node_create();
    if (!node)
        return;
    page_split(physical, PAGE_ORDER_2M);
    for (unsigned i = 0; i < NODE_SLOTS; i++)
        node[i] = (physical + i * PAGE_SIZE) | SLOT_PAGE;
    *slot = (uintptr_t)node;
}

void page_tree_replace(struct page_tree *tree, uint64_t index, uint64_t physical) {
    unsigned level;
    uint64_t *slot = slot_find(&tree->root, tree->height, index, &level);
    page_put(*slot & ~SLOT_PAGE);
    *slot = physical | SLOT_PAGE;
}

uint64_t page_tree_last(const struct page_tree *tree) {
    uint64_t slot = tree->root, index = 0;
    unsigned level = tree->height;
    while (level && slot && !slot_is_page(slot)) {
        const uint64_t *node = slot_node(slot);
        unsigned number = NODE_SLOTS - 1;
        while (number && !node[number])
            number--;
        level--;
        index += (uint64_t)number << level * NODE_BITS;
        slot = node[number];
    }
    return slot ? index : UINT64_MAX;
}

void page_tree_drop(struct page_tree *tree) {
    uint64_t last;
    while ((last = page_tree_last(tree)) != UINT64_MAX) {
        page_tree_remove(tree, last >= PAGE_TREE_CHUNK ? last - PAGE_TREE_CHUNK : 0, UINT64_MAX);
        thread_preemption_point();
    }
    page_tree_remove(tree, 0, UINT64_MAX);
}
