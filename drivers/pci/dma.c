// SPDX-License-Identifier: BSD-2-Clause
// Device addresses are handed out by first fit: a driver's own memory low, for devices that know 32
// bits only, that of others from 4 GiB on.
#define _GNU_SOURCE // MAP_ANONYMOUS
#include "drivers/pci/dma.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define OWN_START    (16ull << 20)
#define OTHERS_START (4ull << 30)
#define ALIGNMENT    (2ull << 20) // the IOMMU may then use its large pages

// Documentation/admin-guide/mm/pagemap.rst.
#define PAGEMAP_PRESENT (1ull << 63)
#define PAGEMAP_FRAME   ((1ull << 55) - 1)

int dma_open(struct dma_space *space, int container, bool iommu) {
    space->container = container;
    space->count = 0;
    pthread_rwlock_init(&space->lock, NULL);
    space->pagemap = iommu ? -1 : open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    return !iommu && space->pagemap < 0 ? -errno : 0;
}

static uint64_t free_address(const struct dma_space *space, uint64_t start, uint64_t size) {
    for (unsigned i = 0; i < space->count; i++) {
        const struct dma_mapping *other = &space->mappings[i];

        if (start < other->address + other->size && other->address < start + size) {
            start = (other->address + other->size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
            i = -1u; // from the first again
        }
    }
    return start;
}

static int map_in_iommu(const struct dma_space *space, struct dma_mapping *mapping,
                        uint64_t start) {
    mapping->address = free_address(space, start, mapping->size);
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
                                           .flags =
                                               VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                           .vaddr = (uintptr_t)mapping->memory,
                                           .iova = mapping->address,
                                           .size = mapping->size};
    return ioctl(space->container, VFIO_IOMMU_MAP_DMA, &map) < 0 ? -errno : 0;
}

// The pages are there and locked.
static int find_pages(const struct dma_space *space, struct dma_mapping *mapping) {
    size_t pages = mapping->size / DMA_PAGE;

    mapping->pages = calloc(pages, sizeof(*mapping->pages));
    if (!mapping->pages)
        return -ENOMEM;
    ssize_t size = (ssize_t)(pages * sizeof(*mapping->pages));
    off_t offset = (off_t)((uintptr_t)mapping->memory / DMA_PAGE * sizeof(*mapping->pages));
    if (pread(space->pagemap, mapping->pages, (size_t)size, offset) != size)
        return -EIO;
    for (size_t i = 0; i < pages; i++) {
        uint64_t frame = mapping->pages[i] & PAGEMAP_FRAME;

        if (!(mapping->pages[i] & PAGEMAP_PRESENT) || !frame)
            return -EPERM; // frames are shown to those who may administer the machine
        mapping->pages[i] = frame * DMA_PAGE;
    }
    return 0;
}

static int add(struct dma_space *space, struct dma_mapping mapping, uint64_t start) {
    int error = -ENOSPC;

    pthread_rwlock_wrlock(&space->lock);
    if (space->count < DMA_MAPPINGS_MAX)
        error =
            space->pagemap < 0 ? map_in_iommu(space, &mapping, start) : find_pages(space, &mapping);
    if (!error)
        space->mappings[space->count++] = mapping;
    else
        free(mapping.pages);
    pthread_rwlock_unlock(&space->lock);
    return error;
}

void *dma_allocate(struct dma_space *space, size_t size) {
    size = (size + DMA_PAGE - 1) & ~(size_t)(DMA_PAGE - 1);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    int error = add(space, (struct dma_mapping){.memory = memory, .size = size}, OWN_START);
    if (error) {
        munmap(memory, size);
        errno = -error;
        return NULL;
    }
    return memory;
}

int dma_map(struct dma_space *space, void *memory, size_t size) {
    if (space->pagemap >= 0)
        return -EOPNOTSUPP;
    return add(space, (struct dma_mapping){.memory = memory, .size = size}, OTHERS_START);
}

static void unmap(const struct dma_space *space, const struct dma_mapping *mapping) {
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap), .iova = mapping->address, .size = mapping->size};

    if (space->pagemap < 0)
        ioctl(space->container, VFIO_IOMMU_UNMAP_DMA, &unmap);
    free(mapping->pages);
}

void dma_unmap(struct dma_space *space, void *memory) {
    pthread_rwlock_wrlock(&space->lock);
    for (unsigned i = 0; i < space->count; i++) {
        if (space->mappings[i].memory == memory && space->mappings[i].address >= OTHERS_START) {
            unmap(space, &space->mappings[i]);
            space->mappings[i] = space->mappings[--space->count];
            break;
        }
    }
    pthread_rwlock_unlock(&space->lock);
}

void dma_close(struct dma_space *space) {
    for (unsigned i = 0; i < space->count; i++) {
        unmap(space, &space->mappings[i]);
        if (space->mappings[i].address < OTHERS_START)
            munmap(space->mappings[i].memory, space->mappings[i].size);
    }
    if (space->pagemap >= 0)
        close(space->pagemap);
    pthread_rwlock_destroy(&space->lock);
}

static uint64_t address_in(const struct dma_mapping *mapping, size_t offset, size_t *size) {
    size_t room = mapping->size - offset;

    if (mapping->pages) {
        size_t page = offset / DMA_PAGE;
        size_t last = page;

        while (last + 1 < mapping->size / DMA_PAGE &&
               mapping->pages[last + 1] == mapping->pages[last] + DMA_PAGE &&
               (last + 1) * DMA_PAGE - offset < *size)
            last++;
        room = (last + 1) * DMA_PAGE - offset;
    }
    if (*size > room)
        *size = room;
    return mapping->pages ? mapping->pages[offset / DMA_PAGE] + offset % DMA_PAGE
                          : mapping->address + offset;
}

uint64_t dma_address(struct dma_space *space, const void *memory, size_t *size) {
    uint64_t address = DMA_NONE;

    pthread_rwlock_rdlock(&space->lock);
    for (unsigned i = 0; i < space->count && address == DMA_NONE; i++) {
        const struct dma_mapping *mapping = &space->mappings[i];
        size_t offset = (uintptr_t)memory - (uintptr_t)mapping->memory;

        if ((const uint8_t *)memory >= mapping->memory && offset < mapping->size)
            address = address_in(mapping, offset, size);
    }
    pthread_rwlock_unlock(&space->lock);
    return address;
}
