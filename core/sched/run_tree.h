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

// The simulator counts the nodes that are looked at.
#ifdef RUN_STEPS
extern uint64_t run_steps;
#define run_step() run_steps++
#else
#define run_step() (void)0
#endif

// The node is in no tree; `key` and `value` are set.
void run_tree_insert(struct run_node **root, struct run_node *node);
// The node is in this tree.
void run_tree_erase(struct run_node **root, const struct run_node *node);
// The one with the least key; NULL: the tree is empty.
struct run_node *run_tree_first(struct run_node *root);
