// SPDX-License-Identifier: BSD-2-Clause
// A sorted list of physical memory ranges without overlap. Pure code: also built for the unit
// tests.
#include "boot/memory_map.h"
#include <asm/errno.h>

static void remove_at(struct memory_map *map, uint32_t index) {
    for (uint32_t i = index; i + 1 < map->count; i++)
        map->range[i] = map->range[i + 1];
    map->count--;
}

static int insert_at(struct memory_map *map, uint32_t index, uint64_t base, uint64_t end,
                     uint32_t type) {
    if (map->count == map->capacity)
        return -ENOSPC;
    for (uint32_t i = map->count; i > index; i--)
        map->range[i] = map->range[i - 1];
    map->range[index] = (struct boot_memory_range){.base = base, .size = end - base, .type = type};
    map->count++;
    return 0;
}

// Cuts [base, end) out of every range that overlaps it.
static int clear(struct memory_map *map, uint64_t base, uint64_t end) {
    for (uint32_t i = 0; i < map->count;) {
        struct boot_memory_range *range = &map->range[i];
        uint64_t range_end = range->base + range->size;
        if (range_end <= base || range->base >= end) {
            i++;
        } else if (range->base >= base && range_end <= end) {
            remove_at(map, i);
        } else if (range->base < base && range_end > end) {
            range->size = base - range->base;
            return insert_at(map, i + 1, end, range_end, range->type);
        } else if (range->base < base) {
            range->size = base - range->base;
            i++;
        } else {
            range->base = end;
            range->size = range_end - end;
            i++;
        }
    }
    return 0;
}

static void merge_with_next(struct memory_map *map, uint32_t index) {
    if (index + 1 >= map->count)
        return;
    struct boot_memory_range *range = &map->range[index], *next = range + 1;
    if (range->type != next->type || range->base + range->size != next->base)
        return;
    range->size += next->size;
    remove_at(map, index + 1);
}

int memory_map_set(struct memory_map *map, uint64_t base, uint64_t size, uint32_t type) {
    uint64_t end = base + size;
    if (size == 0)
        return 0;
    if (end < base)
        return -EINVAL;
    int status = clear(map, base, end);
    if (status < 0)
        return status;
    uint32_t index = 0;
    while (index < map->count && map->range[index].base < base)
        index++;
    // Growing a neighbour needs no free entry.
    if (index > 0 && map->range[index - 1].type == type &&
        map->range[index - 1].base + map->range[index - 1].size == base) {
        map->range[index - 1].size += size;
        merge_with_next(map, index - 1);
        return 0;
    }
    status = insert_at(map, index, base, end, type);
    if (status < 0)
        return status;
    merge_with_next(map, index);
    return 0;
}

uint64_t memory_map_total(const struct memory_map *map, uint32_t type) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->range[i].type == type)
            total += map->range[i].size;
    }
    return total;
}
