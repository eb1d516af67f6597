// SPDX-License-Identifier: BSD-2-Clause
// NUMA nodes: which memory is near which CPU. Node numbers are ACPI's proximity domains. Plain
// code; set up once at start, then only read.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NUMA_NODES = 16, NUMA_RANGES = 64, NUMA_LOCAL = 10, NUMA_REMOTE = 20 };

// Forgets all: one node with everything, as machines without an SRAT have.
void numa_init(void);
// More ranges or higher nodes than there is room for stay with node 0.
void numa_add_memory(unsigned node, uint64_t base, uint64_t size);
// As the SLIT has it: NUMA_LOCAL is a node's own.
void numa_set_distance(unsigned from, unsigned to, unsigned distance);
unsigned numa_distance(unsigned from, unsigned to);
// After all of these: page_sort_nodes() (page.h).

unsigned numa_nodes(void); // the highest with memory + 1
// *end (may be NULL): up to there it is the same one.
unsigned numa_node_of(uint64_t physical, uint64_t *end);
uint64_t numa_node_bytes(unsigned node); // of RAM, as the SRAT has it; 0 where there is one node
// The nodes in order of their distance from `from`: rank 0 is itself.
unsigned numa_nearest(unsigned from, unsigned rank);

// set_mempolicy(2), mbind(2). Zero: the node of the CPU that asks.
struct numa_policy {
    uint8_t mode;   // MPOL_*
    uint16_t nodes; // bit per node
};

// Where a page is wanted: on node `first`, else on the nearest of the mask `allowed`.
struct numa_place {
    unsigned first;
    uint32_t allowed;
};
static inline bool numa_policy_allows(struct numa_policy policy, uint64_t physical) {
    return policy.nodes >> numa_node_of(physical, NULL) & 1;
}
// The place that a policy gives to the page with this index, asked for on a CPU of node `here`.
struct numa_place numa_policy_place(struct numa_policy policy, uint64_t index, unsigned here);
// What the current thread's policy and CPU say (core/process has it). Asked only when there are
// several nodes.
struct numa_place numa_place_of_caller(void);
// Between these two its pages are made for a mapping with this policy (mode 0: none), and this is
// the index.
void numa_fault_begin(struct numa_policy policy, uint64_t index);
void numa_fault_end(void);
