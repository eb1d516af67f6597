// SPDX-License-Identifier: BSD-2-Clause
// Leaving the firmware: its memory map as the kernel gets it, and ExitBootServices.
#pragma once
#include "boot/boot_info.h"
#include <efi.h>

// The firmware's memory map with room to grow.
struct firmware_map {
    uint8_t *buffer;
    UINTN capacity, size, key, descriptor_size; // bytes
};

// Takes pages for the map's buffer. To be called once, before firmware_exit.
EFI_STATUS firmware_map_start(EFI_BOOT_SERVICES *services, struct firmware_map *map);

// Reads the firmware's map and converts it into info->memory, the loader's allocations marked. On
// failure says why on the console.
EFI_STATUS firmware_map_read(EFI_BOOT_SERVICES *services, struct firmware_map *map,
                             struct boot_info *info);

// Ends boot services; info->memory is the final map afterwards and interrupts are off. On failure
// firmware is still there in part only; the status says why.
EFI_STATUS firmware_exit(EFI_HANDLE image, EFI_BOOT_SERVICES *services, struct firmware_map *map,
                         struct boot_info *info);
