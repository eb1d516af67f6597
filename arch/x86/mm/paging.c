// SPDX-License-Identifier: BSD-2-Clause
// The host's page tables (arch/x86/paging.h): the walker with the host's format.
#include "arch/x86/paging.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/mm/kernel_space.h"
#include "arch/x86/mm/page_walker.h"
#include "core/mm/page.h"
#include "core/string.h"

enum { KERNEL_HALF = 256, ENTRIES = 512 };

uint64_t page_table_create(void) {
    uint64_t root = page_walker_create(&host_format);
    if (root == PHYSICAL_NONE)
        return root;
    uint64_t *entries = page_to_virtual(root);
    const uint64_t *kernel = page_to_virtual(kernel_space_root());
    memcpy(entries + KERNEL_HALF, kernel + KERNEL_HALF, (ENTRIES - KERNEL_HALF) * sizeof *entries);
    return root;
}

void page_table_destroy(uint64_t root) {
    page_walker_free_tables(&host_format, root, 0, KERNEL_HALF - 1);
    page_put(root);
}

int page_table_map(uint64_t root, uint64_t address, uint64_t physical, uint64_t size,
                   unsigned flags) {
    return page_walker_map(&host_format, root, address, physical, size, flags);
}

struct page_table_entry page_table_lookup(uint64_t root, uint64_t address) {
    return page_walker_lookup(&host_format, root, address);
}

struct page_table_entry page_table_unmap(uint64_t root, uint64_t address) {
    return page_walker_unmap(&host_format, root, address);
}

uint64_t page_table_prune(uint64_t root, uint64_t address, uint64_t size) {
    uint64_t unhooked = 0;
    page_walker_prune(&host_format, root, address, size, &unhooked);
    return unhooked;
}

void page_table_release(uint64_t unhooked) {
    page_walker_release(unhooked);
}

void page_table_protect(uint64_t root, uint64_t address, unsigned flags) {
    page_walker_protect(&host_format, root, address, flags);
}

int page_table_split(uint64_t root, uint64_t address) {
    return page_walker_split(&host_format, root, address);
}

void page_table_load(uint64_t root) {
    write_cr3(root == PHYSICAL_NONE ? kernel_space_root() : root);
}
