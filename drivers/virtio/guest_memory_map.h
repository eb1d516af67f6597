// SPDX-License-Identifier: BSD-2-Clause
// The parts of a guest's memory that a device may reach, as its owner granted them.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define GUEST_REGIONS_MAX 32

struct guest_region {
    uint64_t address; // guest-physical
    uint64_t size;    // bytes
    uint8_t *host;    // where it is mapped here
};

struct guest_memory_map {
    struct guest_region regions[GUEST_REGIONS_MAX];
    size_t count;
};

// Host address of what begins at a guest address; *length, the bytes wanted, is cut to what lies in
// one piece there. NULL where nothing was granted.
static inline void *guest_memory_piece(const struct guest_memory_map *map, uint64_t address,
                                       uint64_t *length) {
    for (size_t i = 0; i < map->count; i++) {
        const struct guest_region *region = &map->regions[i];
        uint64_t offset = address - region->address;

        if (address >= region->address && offset < region->size) {
            if (*length > region->size - offset)
                *length = region->size - offset;
            return region->host + offset;
        }
    }
    return NULL;
}

// As above, but all of it or NULL.
static inline void *guest_memory_whole(const struct guest_memory_map *map, uint64_t address,
                                       uint64_t length) {
    uint64_t piece = length;
    void *host = guest_memory_piece(map, address, &piece);

    return piece == length ? host : NULL;
}
