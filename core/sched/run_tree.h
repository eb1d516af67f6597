// SPDX-License-Identifier: BSD-2-Clause
// A treap (Seidel and Aragon 1996) by key, each node knowing the least `value` below it. Plain
// code.
#pragma once
#include <stdint.h>

struct run_node {
    struct run_node *left, *right;
    uint64_t key;    // compared as differences; equal ones by address
    uint64_t value;  // compared as differences
    uint64_t least;  // of the values in the subtree below and including this
    uint32_t random; // the heap's key
};

// Each returns the new root; NULL is the empty tree.
struct run_node *run_tree_insert(struct run_node *root, struct run_node *node);
struct run_node *run_tree_erase(struct run_node *root, struct run_node *node);
struct run_node *run_tree_first(struct run_node *root);
