// SPDX-License-Identifier: BSD-2-Clause
// /sys/devices/system/node: the NUMA nodes, as Linux shows them.
#include "arch/x86/cpu.h"
#include "core/file/file.h"
#include "core/file/text_file.h"
#include "core/log.h"
#include "core/mm/numa.h"
#include "core/mm/page.h"

#define NODES "/sys/devices/system/node"

static void *object_of(unsigned node) {
    return (void *)(uintptr_t)node;
}

static unsigned node_of(const void *object) {
    return (unsigned)(uintptr_t)object;
}

static int show_nodes(void *object, struct text *text) {
    return text_cpu_list(text, (uint64_t[4]){(1ull << numa_nodes()) - 1});
}

static void cpus_of(unsigned node, uint64_t cpus[4]) {
    for (unsigned i = 0; i < cpu_count(); i++)
        if (cpu_at(i)->node == node)
            cpus[i / 64] |= 1ull << i % 64;
}

static int show_cpu_list(void *object, struct text *text) {
    uint64_t cpus[4] = {0};
    cpus_of(node_of(object), cpus);
    return text_cpu_list(text, cpus);
}

// In words of 32 bits, the highest first.
static int show_cpu_map(void *object, struct text *text) {
    uint64_t cpus[4] = {0};
    cpus_of(node_of(object), cpus);
    for (unsigned word = (cpu_count() + 31) / 32; word-- > 0;)
        text_add(text, "%08x%s", (uint32_t)(cpus[word / 2] >> word % 2 * 32), word ? "," : "\n");
    return 0;
}

static int show_distances(void *object, struct text *text) {
    for (unsigned node = 0; node < numa_nodes(); node++)
        text_add(text, "%s%u", node ? " " : "", numa_distance(node_of(object), node));
    text_add(text, "\n");
    return 0;
}

static int show_memory(void *object, struct text *text) {
    unsigned node = node_of(object);
    uint64_t total = numa_nodes() > 1 ? numa_node_bytes(node) : page_total();
    uint64_t free = page_node_free_bytes(node);
    text_add(text,
             "Node %u MemTotal: %8lu kB\nNode %u MemFree: %8lu kB\nNode %u MemUsed: %8lu kB\n",
             node, total >> 10, node, free >> 10, node, (total - free) >> 10);
    return 0;
}

static const struct text_file lists[] = {{.name = "online", .show = show_nodes},
                                         {.name = "possible", .show = show_nodes},
                                         {.name = "has_memory", .show = show_nodes}};
static const struct text_file of_a_node[] = {{.name = "cpulist", .show = show_cpu_list},
                                             {.name = "cpumap", .show = show_cpu_map},
                                             {.name = "distance", .show = show_distances},
                                             {.name = "meminfo", .show = show_memory}};

int numa_files_add(void) {
    struct node *directory;
    int error = root_directory(NODES, &directory);
    for (unsigned i = 0; !error && i < sizeof lists / sizeof *lists; i++)
        error = text_file_add(directory, &lists[i], NULL);
    for (unsigned node = 0; !error && node < numa_nodes(); node++) {
        char path[sizeof NODES "/node" + 10];
        format_string(path, sizeof path, NODES "/node%u", node);
        error = root_directory(path, &directory);
        for (unsigned i = 0; !error && i < sizeof of_a_node / sizeof *of_a_node; i++)
            error = text_file_add(directory, &of_a_node[i], object_of(node));
    }
    return error;
}
