// SPDX-License-Identifier: BSD-2-Clause
// The treap of the run queues.
#include "core/sched/run_tree.h"
#include <stdbool.h>
#include <stddef.h>

static bool before(const struct run_node *a, const struct run_node *b) {
    int64_t difference = (int64_t)(a->key - b->key);
    return difference ? difference < 0 : (uintptr_t)a < (uintptr_t)b;
}

static void update(struct run_node *node) {
    run_step();
    node->least = node->value;
    if (node->left && (int64_t)(node->left->least - node->least) < 0)
        node->least = node->left->least;
    if (node->right && (int64_t)(node->right->least - node->least) < 0)
        node->least = node->right->least;
}

static void split(struct run_node *root, const struct run_node *key, struct run_node **less,
                  struct run_node **greater) {
    if (!root) {
        *less = *greater = NULL;
        return;
    }
    if (before(root, key)) {
        split(root->right, key, &root->right, greater);
        *less = root;
    } else {
        split(root->left, key, less, &root->left);
        *greater = root;
    }
    update(root);
}

static struct run_node *merge(struct run_node *less, struct run_node *greater) {
    if (!less || !greater)
        return less ? less : greater;
    struct run_node *top = less->random > greater->random ? less : greater;
    if (top == less)
        less->right = merge(less->right, greater);
    else
        greater->left = merge(less, greater->left);
    update(top);
    return top;
}

static void insert(struct run_node **root, struct run_node *node) {
    struct run_node *top = *root;
    if (!top || node->random > top->random) {
        split(top, node, &node->left, &node->right);
        *root = top = node;
    } else {
        insert(before(node, top) ? &top->left : &top->right, node);
    }
    update(top);
}

// The next of a node's random numbers. The first are addresses, in regular steps, so all bits must
// depend on all (Wellons' lowbias32).
static uint32_t next_random(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

void run_tree_insert(struct run_node **root, struct run_node *node) {
    node->random = next_random(node->random + 0x9e3779b9u);
    insert(root, node);
}

void run_tree_erase(struct run_node **root, const struct run_node *node) {
    struct run_node *top = *root;
    if (top == node) {
        *root = merge(top->left, top->right);
        return;
    }
    run_tree_erase(before(node, top) ? &top->left : &top->right, node);
    update(top);
}

struct run_node *run_tree_first(struct run_node *root) {
    while (root && root->left) {
        run_step();
        root = root->left;
    }
    return root;
}
