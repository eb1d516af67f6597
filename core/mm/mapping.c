// SPDX-License-Identifier: BSD-2-Clause
// AVL tree of mappings, each node knowing the widest gap below it. Recursion is as deep as the
// tree: at most 24 for 2^16 mappings.
#include "core/mm/mapping.h"
#include <stddef.h>

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
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return best;
}

static int height(const struct mapping *node) {
    return node ? node->height : 0;
}

static uint64_t widest(const struct mapping *node) {
    return node ? node->widest_gap : 0;
}

static void refresh(struct mapping *node) {
    int left = height(node->left), right = height(node->right);
    node->height = (int8_t)((left > right ? left : right) + 1);
    uint64_t gap = node->gap;
    if (widest(node->left) > gap)
        gap = widest(node->left);
    if (widest(node->right) > gap)
        gap = widest(node->right);
    node->widest_gap = gap;
}

static struct mapping *rotate_right(struct mapping *node) {
    struct mapping *top = node->left;
    node->left = top->right;
    top->right = node;
    refresh(node);
    refresh(top);
    return top;
}

static struct mapping *rotate_left(struct mapping *node) {
    struct mapping *top = node->right;
    node->right = top->left;
    top->left = node;
    refresh(node);
    refresh(top);
    return top;
}

static struct mapping *balance(struct mapping *node) {
    int tilt = height(node->left) - height(node->right);
    if (tilt > 1) {
        if (height(node->left->left) < height(node->left->right))
            node->left = rotate_left(node->left);
        return rotate_right(node);
    }
    if (tilt < -1) {
        if (height(node->right->right) < height(node->right->left))
            node->right = rotate_right(node->right);
        return rotate_left(node);
    }
    refresh(node);
    return node;
}

static struct mapping *insert_below(struct mapping *node, struct mapping *mapping) {
    if (!node) {
        mapping->left = mapping->right = NULL;
        refresh(mapping);
        return mapping;
    }
    if (mapping->start < node->start)
        node->left = insert_below(node->left, mapping);
    else
        node->right = insert_below(node->right, mapping);
    return balance(node);
}

static struct mapping *take_first(struct mapping *node, struct mapping **first) {
    if (!node->left) {
        *first = node;
        return node->right;
    }
    node->left = take_first(node->left, first);
    return balance(node);
}

static struct mapping *remove_below(struct mapping *node, const struct mapping *mapping) {
    if (mapping->start < node->start) {
        node->left = remove_below(node->left, mapping);
    } else if (mapping->start > node->start) {
        node->right = remove_below(node->right, mapping);
    } else {
        if (!node->right)
            return node->left;
        struct mapping *next, *right = take_first(node->right, &next);
        next->left = node->left;
        next->right = right;
        node = next;
    }
    return balance(node);
}

// Takes a changed gap of `mapping` into account from it up to the root.
static void refresh_path(struct mapping *node, const struct mapping *mapping) {
    if (!node)
        return;
    if (mapping->start < node->start)
        refresh_path(node->left, mapping);
    else if (mapping->start > node->start)
        refresh_path(node->right, mapping);
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
            found = find_below(node->right, size, align, low, high);
        if (!found)
            found = fit(gap_start, node->start, size, align, low, high);
        if (found)
            return found;
        if (gap_start <= low)
            return 0;
        node = node->left;
    }
    return 0;
}

uint64_t mapping_tree_find_gap(const struct mapping_tree *tree, uint64_t size, uint64_t align,
                               uint64_t low, uint64_t high) {
    uint64_t last_end = list_empty(&tree->list) ? 0 : mapping_of(tree->list.prev)->end;
    uint64_t found = fit(last_end, UINT64_MAX, size, align, low, high);
    return found ? found : find_below(tree->root, size, align, low, high);
}
