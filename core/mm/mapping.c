// SPDX-License-Identifier: BSD-2-Clause
// AVL tree of mappings, each node knowing the widest gap below it. Recursion is as deep as the
// tree: at most 24 for 2^16 mappings.
#include "core/mm/mapping.h"
#include <stddef.h>

enum { LEFT, RIGHT };

void mapping_tree_init(struct mapping_tree *tree) {
    tree->root = NULL;
    list_init(&tree->list);
    tree->count = 0;
}

static struct mapping *mapping_of(struct list *node) {
    return container_of(node, struct mapping, node);
}

struct mapping *mapping_next(const struct mapping_tree *tree, const struct mapping *mapping) {
    return mapping->node.next == &tree->list ? NULL : mapping_of(mapping->node.next);
}

struct mapping *mapping_previous(const struct mapping_tree *tree, const struct mapping *mapping) {
    return mapping->node.prev == &tree->list ? NULL : mapping_of(mapping->node.prev);
}

struct mapping *mapping_tree_at_or_above(const struct mapping_tree *tree, uint64_t address) {
    struct mapping *node = tree->root, *best = NULL;
    while (node) {
        if (address < node->end) {
            best = node;
            if (address >= node->start)
                break;
            node = node->child[LEFT];
        } else {
            node = node->child[RIGHT];
        }
    }
    return best;
}

static int height(const struct mapping *node) {
    return node ? node->height : 0;
}

static void refresh(struct mapping *node) {
    node->height = 0;
    node->widest_gap = node->gap;
    for (unsigned side = LEFT; side <= RIGHT; side++) {
        const struct mapping *child = node->child[side];
        if (height(child) > node->height)
            node->height = (int8_t)height(child);
        if (child && child->widest_gap > node->widest_gap)
            node->widest_gap = child->widest_gap;
    }
    node->height++;
}

// Lifts the child of that side above the node.
static struct mapping *rotate(struct mapping *node, unsigned side) {
    struct mapping *top = node->child[side];
    node->child[side] = top->child[!side];
    top->child[!side] = node;
    refresh(node);
    refresh(top);
    return top;
}

static struct mapping *balance(struct mapping *node) {
    int tilt = height(node->child[RIGHT]) - height(node->child[LEFT]);
    unsigned side = tilt > 0 ? RIGHT : LEFT;
    struct mapping *heavy = node->child[side];
    if (tilt >= -1 && tilt <= 1) {
        refresh(node);
        return node;
    }
    if (height(heavy->child[side]) < height(heavy->child[!side]))
        node->child[side] = rotate(heavy, !side);
    return rotate(node, side);
}

static unsigned side_of(const struct mapping *node, const struct mapping *mapping) {
    return mapping->start < node->start ? LEFT : RIGHT;
}

static struct mapping *insert_below(struct mapping *node, struct mapping *mapping) {
    if (!node) {
        mapping->child[LEFT] = mapping->child[RIGHT] = NULL;
        refresh(mapping);
        return mapping;
    }
    struct mapping **child = &node->child[side_of(node, mapping)];
    *child = insert_below(*child, mapping);
    return balance(node);
}

static struct mapping *take_first(struct mapping *node, struct mapping **first) {
    if (!node->child[LEFT]) {
        *first = node;
        return node->child[RIGHT];
    }
    node->child[LEFT] = take_first(node->child[LEFT], first);
    return balance(node);
}

static struct mapping *remove_below(struct mapping *node, const struct mapping *mapping) {
    if (node != mapping) {
        struct mapping **child = &node->child[side_of(node, mapping)];
        *child = remove_below(*child, mapping);
        return balance(node);
    }
    if (!node->child[RIGHT])
        return node->child[LEFT];
    struct mapping *next, *right = take_first(node->child[RIGHT], &next);
    next->child[LEFT] = node->child[LEFT];
    next->child[RIGHT] = right;
    return balance(next);
}

// Takes a changed gap of `mapping` into account from it up to the root.
static void refresh_path(struct mapping *node, const struct mapping *mapping) {
    if (!node)
        return;
    if (node != mapping)
        refresh_path(node->child[side_of(node, mapping)], mapping);
    refresh(node);
}

static void update_gap(struct mapping_tree *tree, struct mapping *mapping) {
    struct mapping *previous = mapping_previous(tree, mapping);
    mapping->gap = mapping->start - (previous ? previous->end : 0);
    refresh_path(tree->root, mapping);
}

void mapping_tree_end_changed(struct mapping_tree *tree, struct mapping *mapping) {
    struct mapping *next = mapping_next(tree, mapping);
    if (next)
        update_gap(tree, next);
}

void mapping_tree_insert(struct mapping_tree *tree, struct mapping *mapping) {
    struct mapping *next = mapping_tree_at_or_above(tree, mapping->start);
    list_push_back(next ? &next->node : &tree->list, &mapping->node);
    mapping->gap = 0;
    tree->root = insert_below(tree->root, mapping);
    tree->count++;
    update_gap(tree, mapping);
    mapping_tree_end_changed(tree, mapping);
}

void mapping_tree_remove(struct mapping_tree *tree, struct mapping *mapping) {
    struct mapping *next = mapping_next(tree, mapping);
    tree->root = remove_below(tree->root, mapping);
    list_remove(&mapping->node);
    tree->count--;
    if (next)
        update_gap(tree, next);
}

// Highest aligned start in the free room [from, to) clipped to [low, high); 0: it does not fit.
static uint64_t fit(uint64_t from, uint64_t to, uint64_t size, uint64_t align, uint64_t low,
                    uint64_t high) {
    if (from < low)
        from = low;
    if (to > high)
        to = high;
    if (to < from || to - from < size)
        return 0;
    uint64_t start = (to - size) & ~(align - 1);
    return start >= from ? start : 0;
}

static uint64_t find_below(const struct mapping *node, uint64_t size, uint64_t align, uint64_t low,
                           uint64_t high) {
    while (node && node->widest_gap >= size) {
        uint64_t gap_start = node->start - node->gap, found = 0;
        // Gaps of the right subtree begin at or above node->end.
        if (node->end < high)
            found = find_below(node->child[RIGHT], size, align, low, high);
        if (!found)
            found = fit(gap_start, node->start, size, align, low, high);
        if (found)
            return found;
        if (gap_start <= low)
            return 0;
        node = node->child[LEFT];
    }
    return 0;
}

uint64_t mapping_tree_find_gap(const struct mapping_tree *tree, uint64_t size, uint64_t align,
                               uint64_t low, uint64_t high) {
    uint64_t last_end = list_empty(&tree->list) ? 0 : mapping_of(tree->list.prev)->end;
    uint64_t found = fit(last_end, UINT64_MAX, size, align, low, high);
    return found ? found : find_below(tree->root, size, align, low, high);
}
