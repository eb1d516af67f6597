// SPDX-License-Identifier: BSD-2-Clause
// The loader's page allocations and their record.
#include "boot/allocation.h"

#define MAX_ALLOCATIONS 16

struct allocation {
    uint64_t base, pages; // pages 0: the entry is free
    enum boot_memory_type type;
};

static struct allocation allocations[MAX_ALLOCATIONS];

static struct allocation *free_entry(void) {
    for (unsigned i = 0; i < MAX_ALLOCATIONS; i++) {
        if (allocations[i].pages == 0)
            return &allocations[i];
    }
    return NULL;
}

void *allocation_take(EFI_BOOT_SERVICES *services, uint64_t size, uint64_t align, uint64_t below,
                      enum boot_memory_type type) {
    struct allocation *entry = free_entry();
    uint64_t pages = (size + EFI_PAGE_SIZE - 1) / EFI_PAGE_SIZE;
    uint64_t spare = align / EFI_PAGE_SIZE - 1;
    EFI_PHYSICAL_ADDRESS block = below ? below - 1 : 0;
    if (!entry || pages == 0 ||
        EFI_ERROR(services->AllocatePages(below ? AllocateMaxAddress : AllocateAnyPages,
                                          EfiLoaderData, pages + spare, &block)))
        return NULL;
    // UEFI aligns to pages only: take more and give the ends back.
    uint64_t base = (block + align - 1) & ~(align - 1);
    uint64_t before = (base - block) / EFI_PAGE_SIZE;
    if (before > 0)
        services->FreePages(block, before);
    if (spare > before)
        services->FreePages(base + pages * EFI_PAGE_SIZE, spare - before);
    *entry = (struct allocation){.base = base, .pages = pages, .type = type};
    return (void *)base;
}

void allocation_release(EFI_BOOT_SERVICES *services, void *memory) {
    for (unsigned i = 0; i < MAX_ALLOCATIONS; i++) {
        struct allocation *entry = &allocations[i];
        if (entry->pages == 0 || entry->base != (uint64_t)memory)
            continue;
        services->FreePages(entry->base, entry->pages);
        entry->pages = 0;
    }
}

void allocation_release_all(EFI_BOOT_SERVICES *services) {
    for (unsigned i = 0; i < MAX_ALLOCATIONS; i++) {
        if (allocations[i].pages != 0)
            allocation_release(services, (void *)allocations[i].base);
    }
}

int allocation_mark(struct memory_map *map) {
    for (unsigned i = 0; i < MAX_ALLOCATIONS; i++) {
        int status = memory_map_set(map, allocations[i].base, allocations[i].pages * EFI_PAGE_SIZE,
                                    allocations[i].type);
        if (status < 0)
            return status;
    }
    return 0;
}
