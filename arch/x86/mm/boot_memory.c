// SPDX-License-Identifier: BSD-2-Clause
// From the loader's memory map to the page allocator.
#include "arch/x86/mm/kernel_space.h"
#include "boot/boot_info.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"

enum { LOW_PAGES = 4, LOW_FROM = 0x1000, LOW_END = 0xa0000, MIB = 1 << 20 };

uint64_t direct_map_base = DIRECT_MAP_BASE;

static uint64_t low_pages;

struct range {
    uint64_t base, end;
};

static bool is_ram(const struct boot_memory_range *range) {
    return range->type != BOOT_MEMORY_RESERVED;
}

static uint64_t highest_ram(const struct boot_info *info) {
    uint64_t highest = 0;
    for (uint32_t i = 0; i < info->memory_range_count; i++) {
        const struct boot_memory_range *range = &info->memory[i];
        if (is_ram(range) && range->base + range->size > highest)
            highest = range->base + range->size;
    }
    return highest;
}

// The first free place for size bytes between from and end, page aligned; PHYSICAL_NONE: there is
// none.
static uint64_t find_free(const struct boot_info *info, uint64_t size, uint64_t from,
                          uint64_t end) {
    for (uint32_t i = 0; i < info->memory_range_count; i++) {
        const struct boot_memory_range *range = &info->memory[i];
        if (range->type != BOOT_MEMORY_FREE)
            continue;
        uint64_t base = range->base < from ? from : range->base;
        uint64_t limit = range->base + range->size < end ? range->base + range->size : end;
        if (base < limit && limit - base >= size)
            return base;
    }
    return PHYSICAL_NONE;
}

static void add_free_without(struct range free, const struct range *holes, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        if (holes[i].end <= free.base || holes[i].base >= free.end)
            continue;
        if (free.base < holes[i].base)
            add_free_without((struct range){free.base, holes[i].base}, holes + i + 1,
                             count - i - 1);
        if (free.end <= holes[i].end)
            return;
        free.base = holes[i].end;
    }
    page_add_free(free.base, free.end - free.base);
}

void boot_memory_init(const struct boot_info *info) {
    uint64_t highest = highest_ram(info);
    size_t array_size = page_array_size(highest);
    uint64_t array = find_free(info, array_size, MIB, UINT64_MAX);
    if (array == PHYSICAL_NONE)
        panic("no room for the page array of %zu KiB", array_size >> 10);
    page_init(highest, array);
    struct range holes[2] = {{array, array + array_size}, {0, 0}};
    uint64_t low = find_free(info, LOW_PAGES * PAGE_SIZE, LOW_FROM, LOW_END);
    if (low != PHYSICAL_NONE) {
        low_pages = low;
        holes[1] = (struct range){low, low + LOW_PAGES * PAGE_SIZE};
    }
    for (uint32_t i = 0; i < info->memory_range_count; i++) {
        const struct boot_memory_range *range = &info->memory[i];
        if (range->type == BOOT_MEMORY_FREE)
            add_free_without((struct range){range->base, range->base + range->size}, holes, 2);
    }
    kernel_memory_add(info->kernel_size);
}

uint64_t boot_memory_low_pages(void) {
    return low_pages;
}

void boot_memory_release_low_pages(void) {
    if (low_pages)
        page_add_free(low_pages, LOW_PAGES * PAGE_SIZE);
    low_pages = 0;
}

void boot_memory_release_loader(const struct boot_info *info) {
    for (uint32_t i = 0; i < info->memory_range_count; i++)
        if (info->memory[i].type == BOOT_MEMORY_LOADER)
            page_add_free(info->memory[i].base, info->memory[i].size);
}
