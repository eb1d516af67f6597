// SPDX-License-Identifier: BSD-2-Clause
// Four-level tables of 2 MiB pages (SDM volume 3, section 4.5), the same physical range seen twice:
// identity and direct map share their lower tables.
#include "boot/page_tables.h"
#include "boot/boot_info.h"

#define PAGE_SIZE     4096ull
#define ENTRIES       512ull
#define LARGE_PAGE    (2ull << 20)
#define GIB           (1ull << 30)
#define PML4E_REACH   (512 * GIB)
#define ENTRY_PRESENT 1ull
#define ENTRY_WRITE   2ull
#define ENTRY_LARGE   0x80ull

_Static_assert(DIRECT_MAP_BASE % PML4E_REACH == 0, "direct map and identity map share their PDPTs");
_Static_assert(KERNEL_BASE % GIB == 0, "one page directory maps the kernel");

static uint64_t gibibytes(uint64_t top) {
    uint64_t lowest = 4 * GIB;
    return ((top > lowest ? top : lowest) + GIB - 1) / GIB;
}

static uint64_t upper_tables(uint64_t top) {
    return (gibibytes(top) + ENTRIES - 1) / ENTRIES;
}

uint64_t page_tables_size(uint64_t top) {
    uint64_t kernel = 2; // its PDPT and page directory
    return (1 + upper_tables(top) + gibibytes(top) + kernel) * PAGE_SIZE;
}

static unsigned pml4_index(uint64_t address) {
    return address >> 39 & 511;
}

uint64_t page_tables_build(void *memory, uint64_t top, uint64_t kernel_physical,
                           uint64_t kernel_size) {
    const uint64_t table = ENTRY_PRESENT | ENTRY_WRITE;
    const uint64_t page = table | ENTRY_LARGE;
    uint64_t *pml4 = memory;
    uint64_t *pdpt = pml4 + ENTRIES; // consecutive tables: one index runs through all of them
    uint64_t *directory = pdpt + upper_tables(top) * ENTRIES;
    uint64_t *kernel_pdpt = directory + gibibytes(top) * ENTRIES;
    uint64_t *kernel_directory = kernel_pdpt + ENTRIES;

    __builtin_memset(memory, 0, page_tables_size(top));
    for (uint64_t i = 0; i < upper_tables(top); i++) {
        pml4[i] = (uint64_t)(pdpt + i * ENTRIES) | table;
        pml4[pml4_index(DIRECT_MAP_BASE) + i] = pml4[i];
    }
    for (uint64_t i = 0; i < gibibytes(top); i++)
        pdpt[i] = (uint64_t)(directory + i * ENTRIES) | table;
    for (uint64_t i = 0; i < gibibytes(top) * ENTRIES; i++)
        directory[i] = i * LARGE_PAGE | page;

    pml4[pml4_index(KERNEL_BASE)] = (uint64_t)kernel_pdpt | table;
    kernel_pdpt[KERNEL_BASE >> 30 & 511] = (uint64_t)kernel_directory | table;
    for (uint64_t i = 0; i * LARGE_PAGE < kernel_size; i++)
        kernel_directory[i] = (kernel_physical + i * LARGE_PAGE) | page;
    return (uint64_t)pml4;
}
