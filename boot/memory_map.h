// SPDX-License-Identifier: BSD-2-Clause
// A sorted list of physical memory ranges without overlap: what the kernel gets from the firmware's
// memory map.
#pragma once
#include "boot/boot_info.h"

struct memory_map {
    struct boot_memory_range *range; // sorted by base
    uint32_t count, capacity;
};

// Gives [base, base + size) (bytes, page aligned) the type TYPE, whatever it was before; neighbours
// of one type are merged. Returns 0, or -ENOSPC when the list is full (the list is then
// incomplete), -EINVAL for an address overflow.
int memory_map_set(struct memory_map *map, uint64_t base, uint64_t size, uint32_t type);

// Bytes of TYPE in the map.
uint64_t memory_map_total(const struct memory_map *map, uint32_t type);
