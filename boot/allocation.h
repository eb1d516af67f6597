// SPDX-License-Identifier: BSD-2-Clause
// The loader's page allocations. Each is recorded: the kernel learns their types from the record,
// and a loader that gives up hands all of them back to the firmware.
#pragma once
#include "boot/memory_map.h"
#include <efi.h>

// Allocates SIZE bytes (rounded up to pages), aligned to ALIGN (a power of two, at least a page),
// wholly below BELOW (physical; 0: anywhere), for TYPE (enum boot_memory_type). Returns NULL when
// there is no such memory.
void *allocation_take(EFI_BOOT_SERVICES *services, uint64_t size, uint64_t align, uint64_t below,
                      enum boot_memory_type type);

// Gives one allocation back.
void allocation_release(EFI_BOOT_SERVICES *services, void *memory);

// Gives every allocation back.
void allocation_release_all(EFI_BOOT_SERVICES *services);

// Marks the allocations in the map. Returns as memory_map_set does.
int allocation_mark(struct memory_map *map);
