// SPDX-License-Identifier: BSD-2-Clause
// Leaving the firmware (UEFI 2.10 sections 7.2 and 7.4.6).
#include "boot/firmware_exit.h"
#include "boot/allocation.h"
#include "boot/console.h"

#define MAP_SLACK     64 // descriptors that allocations between two reads may add
#define EXIT_ATTEMPTS 8

static enum boot_memory_type memory_type(const EFI_MEMORY_DESCRIPTOR *descriptor) {
    switch (descriptor->Type) {
    case EfiConventionalMemory:
    case EfiLoaderCode:
    case EfiLoaderData:
    case EfiBootServicesCode:
    case EfiBootServicesData:
        return descriptor->Attribute & EFI_MEMORY_WB ? BOOT_MEMORY_FREE : BOOT_MEMORY_RESERVED;
    case EfiACPIReclaimMemory:
        return BOOT_MEMORY_ACPI;
    default: // ACPI NVS too: firmware goes on using it
        return BOOT_MEMORY_RESERVED;
    }
}

static int convert(const struct firmware_map *map, struct boot_info *info) {
    struct memory_map result = {.range = info->memory, .capacity = BOOT_MAX_MEMORY_RANGES};
    int status = 0;
    for (UINTN at = 0; at < map->size && status == 0; at += map->descriptor_size) {
        const EFI_MEMORY_DESCRIPTOR *descriptor = (const void *)(map->buffer + at);
        status = memory_map_set(&result, descriptor->PhysicalStart,
                                descriptor->NumberOfPages * EFI_PAGE_SIZE, memory_type(descriptor));
    }
    if (status == 0)
        status = allocation_mark(&result);
    // Physical page 0 is nobody's: an address of 0 can then mean none.
    if (status == 0)
        status = memory_map_set(&result, 0, EFI_PAGE_SIZE, BOOT_MEMORY_RESERVED);
    info->memory_range_count = result.count;
    return status;
}

static EFI_STATUS get_map(EFI_BOOT_SERVICES *services, struct firmware_map *map) {
    UINT32 version;
    map->size = map->capacity;
    return services->GetMemoryMap(&map->size, (EFI_MEMORY_DESCRIPTOR *)map->buffer, &map->key,
                                  &map->descriptor_size, &version);
}

EFI_STATUS firmware_map_start(EFI_BOOT_SERVICES *services, struct firmware_map *map) {
    map->capacity = 0;
    EFI_STATUS status = get_map(services, map);
    if (status != EFI_BUFFER_TOO_SMALL)
        return EFI_ERROR(status) ? status : EFI_DEVICE_ERROR;
    UINTN capacity = map->size + MAP_SLACK * map->descriptor_size;
    map->buffer = allocation_take(services, capacity, EFI_PAGE_SIZE, 0, BOOT_MEMORY_LOADER);
    if (!map->buffer)
        return EFI_OUT_OF_RESOURCES;
    map->capacity = capacity;
    return EFI_SUCCESS;
}

EFI_STATUS firmware_map_read(EFI_BOOT_SERVICES *services, struct firmware_map *map,
                             struct boot_info *info) {
    EFI_STATUS status = get_map(services, map);
    if (EFI_ERROR(status)) {
        console_print("Ashlar loader: firmware gives no memory map\n");
        return status;
    }
    if (convert(map, info) < 0) {
        console_print("Ashlar loader: firmware's memory map has more than %lu ranges\n",
                      (unsigned long)BOOT_MAX_MEMORY_RANGES);
        return EFI_UNSUPPORTED;
    }
    return EFI_SUCCESS;
}

EFI_STATUS firmware_exit(EFI_HANDLE image, EFI_BOOT_SERVICES *services, struct firmware_map *map,
                         struct boot_info *info) {
    EFI_STATUS status = EFI_DEVICE_ERROR;
    // A timer event may change the map between the two calls; the key is then refused.
    for (unsigned i = 0; i < EXIT_ATTEMPTS && EFI_ERROR(status); i++) {
        status = get_map(services, map);
        if (!EFI_ERROR(status))
            status = services->ExitBootServices(image, map->key);
    }
    if (EFI_ERROR(status))
        return status;
    __asm__ volatile("cli" : : : "memory");
    console_leave_firmware();
    return convert(map, info) < 0 ? EFI_UNSUPPORTED : EFI_SUCCESS;
}
