// SPDX-License-Identifier: BSD-2-Clause
// Memory ranges of nodes and distances between them.
#include "core/mm/numa.h"
#include <linux/mempolicy.h>

static struct {
    struct {
        uint64_t base, end;
        unsigned node;
    } range[NUMA_RANGES];
    unsigned ranges, nodes;
    uint8_t distance[NUMA_NODES][NUMA_NODES]; // 0: not told
} numa = {.nodes = 1};

void numa_init(void) {
    numa.ranges = 0;
    numa.nodes = 1;
    for (unsigned i = 0; i < NUMA_NODES * NUMA_NODES; i++)
        numa.distance[i / NUMA_NODES][i % NUMA_NODES] = 0;
}

void numa_add_memory(unsigned node, uint64_t base, uint64_t size) {
    if (node >= NUMA_NODES || numa.ranges == NUMA_RANGES || !size)
        return;
    numa.range[numa.ranges].base = base;
    numa.range[numa.ranges].end = base + size;
    numa.range[numa.ranges++].node = node;
    if (node >= numa.nodes)
        numa.nodes = node + 1;
}

void numa_set_distance(unsigned from, unsigned to, unsigned distance) {
    if (from < NUMA_NODES && to < NUMA_NODES && distance >= NUMA_LOCAL && distance < 255)
        numa.distance[from][to] = (uint8_t)distance;
}

unsigned numa_distance(unsigned from, unsigned to) {
    if (from == to)
        return NUMA_LOCAL;
    return numa.distance[from][to] ? numa.distance[from][to] : NUMA_REMOTE;
}

unsigned numa_nodes(void) {
    return numa.nodes;
}

unsigned numa_node_of(uint64_t physical, uint64_t *end) {
    uint64_t none_until = UINT64_MAX;
    for (unsigned i = 0; i < numa.ranges; i++) {
        if (physical >= numa.range[i].base && physical < numa.range[i].end) {
            if (end)
                *end = numa.range[i].end;
            return numa.range[i].node;
        }
        if (physical < numa.range[i].base && numa.range[i].base < none_until)
            none_until = numa.range[i].base;
    }
    if (end)
        *end = none_until;
    return 0;
}

uint64_t numa_node_bytes(unsigned node) {
    uint64_t bytes = 0;
    for (unsigned i = 0; i < numa.ranges; i++)
        if (numa.range[i].node == node)
            bytes += numa.range[i].end - numa.range[i].base;
    return bytes;
}

// Whether a comes before b: by distance, then by number behind `from` so that the neighbours of
// several nodes differ.
static int nearer(unsigned from, unsigned a, unsigned b) {
    unsigned to_a = numa_distance(from, a), to_b = numa_distance(from, b);
    return to_a != to_b
               ? to_a < to_b
               : (a - from + NUMA_NODES) % NUMA_NODES < (b - from + NUMA_NODES) % NUMA_NODES;
}

unsigned numa_nearest(unsigned from, unsigned rank) {
    for (unsigned node = 0; node < numa.nodes; node++) {
        unsigned before = 0;
        for (unsigned other = 0; other < numa.nodes; other++)
            before += other != node && nearer(from, other, node);
        if (before == rank)
            return node;
    }
    return from;
}

struct numa_place numa_policy_place(struct numa_policy policy, uint64_t index, unsigned here) {
    struct numa_place place = {here, UINT32_MAX};
    unsigned lowest = policy.nodes ? (unsigned)__builtin_ctz(policy.nodes) : here;
    switch (policy.mode) {
    case MPOL_BIND:
        place.allowed = policy.nodes;
        break;
    case MPOL_PREFERRED:
        place.first = lowest;
        break;
    case MPOL_PREFERRED_MANY:
        if (!(policy.nodes >> here & 1))
            place.first = lowest;
        break;
    case MPOL_INTERLEAVE: {
        unsigned nodes = policy.nodes, count = 0;
        if (!nodes)
            break;
        for (; nodes; nodes &= nodes - 1)
            count++;
        nodes = policy.nodes;
        for (index %= count; index; index--)
            nodes &= nodes - 1;
        place.first = (unsigned)__builtin_ctz(nodes);
        break;
    }
    }
    return place;
}
