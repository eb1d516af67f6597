// SPDX-License-Identifier: BSD-2-Clause
// What a container maps for its devices: memory of the program that asks, held until unmapped.
#include <asm/errno.h>
#include <linux/vfio.h>
#include "arch/x86/iommu/iommu.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/vfio/container.h"

// The IOMMU's tables are filled and emptied a window at a time, so that no single step is long and
// what was mapped together goes together.
#define WINDOW (2ull << 20)
enum { MAPPINGS_MAX = 65535 }; // as Linux's dma_entry_limit

static uint64_t window_end(uint64_t at, uint64_t end) {
    uint64_t next = (at & ~(WINDOW - 1)) + WINDOW;
    return next < end ? next : end;
}

static void put_pages(const uint64_t *pages, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        if (pages[i] != PHYSICAL_NONE)
            page_put(pages[i]);
}

// Pages are given back only when no device reaches them any more.
static void unmap(struct vfio_container *container, uint64_t start, uint64_t end) {
    for (uint64_t at = start, next; at < end; at = next) {
        unsigned count = 0;
        next = window_end(at, end);
        for (uint64_t page = at; page < next; page += PAGE_SIZE)
            container->pages[count++] = iommu_translate(container->domain, page);
        iommu_unmap(container->domain, at, next - at);
        put_pages(container->pages, count);
        thread_preemption_point();
    }
}

// What lies in one piece is mapped in one piece. 0 or -errno; then the window is as before, its
// pages still held.
static int map_pages(struct vfio_container *container, uint64_t at, unsigned count,
                     unsigned access) {
    const uint64_t *pages = container->pages;
    int error = 0;
    for (unsigned i = 0, run; !error && i < count; i += run) {
        for (run = 1; i + run < count && pages[i + run] == pages[i] + run * PAGE_SIZE; run++)
            ;
        error = iommu_map(container->domain, at + i * PAGE_SIZE, pages[i], run * PAGE_SIZE, access);
        if (error && i)
            iommu_unmap(container->domain, at, i * PAGE_SIZE);
    }
    return error;
}

static int map_window(struct vfio_container *container, uint64_t at, uint64_t end, uint64_t user,
                      unsigned access) {
    unsigned count = 0;
    int error = 0;
    enum access wanted = access & IOMMU_WRITE ? ACCESS_WRITE : ACCESS_READ;
    for (uint64_t page = at; !error && page < end; page += PAGE_SIZE, user += PAGE_SIZE) {
        error = address_space_pin(process_current()->space, user, wanted, &container->pages[count]);
        count += !error;
    }
    if (!error)
        error = map_pages(container, at, count, access);
    if (error)
        put_pages(container->pages, count);
    return error;
}

static int map(struct vfio_container *container, const struct vfio_iommu_type1_dma_map *request) {
    uint64_t start = request->iova, end = start + request->size;
    unsigned access = (request->flags & VFIO_DMA_MAP_FLAG_READ ? IOMMU_READ : 0) |
                      (request->flags & VFIO_DMA_MAP_FLAG_WRITE ? IOMMU_WRITE : 0);
    for (uint64_t at = start, next; at < end; at = next) {
        next = window_end(at, end);
        int error = map_window(container, at, next, request->vaddr + (at - start), access);
        if (error) {
            unmap(container, start, at);
            return error;
        }
        thread_preemption_point();
    }
    return 0;
}

// Of the addresses above, those of interrupt messages are nobody's.
static bool in_aperture(uint64_t start, uint64_t size) {
    return start + size > start && start + size <= iommu_aperture() &&
           (start + size <= IOMMU_MSI_BASE || start >= IOMMU_MSI_END);
}

static const struct mapping *mapping_at(const struct vfio_container *container, uint64_t address) {
    const struct mapping *mapping = mapping_tree_at_or_above(&container->mappings, address);
    return mapping && mapping->start <= address ? mapping : NULL;
}

static int64_t map_dma(struct vfio_container *container, uint64_t argument) {
    struct vfio_iommu_type1_dma_map request;
    if (copy_from_user(&request, argument, sizeof request))
        return -EFAULT;
    const uint32_t known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
    if (request.argsz < sizeof request || !request.flags || request.flags & ~known ||
        !request.size || (request.size | request.iova | request.vaddr) & (PAGE_SIZE - 1) ||
        request.vaddr + request.size < request.vaddr || !in_aperture(request.iova, request.size))
        return -EINVAL;
    const struct mapping *next = mapping_tree_at_or_above(&container->mappings, request.iova);
    if (next && next->start < request.iova + request.size)
        return -EEXIST;
    if (container->mappings.count >= MAPPINGS_MAX)
        return -ENOSPC;
    struct mapping *mapping = heap_new(struct mapping);
    if (!mapping)
        return -ENOMEM;
    int error = map(container, &request);
    if (error) {
        heap_free(mapping);
        return error;
    }
    mapping->start = request.iova;
    mapping->end = request.iova + request.size;
    mapping_tree_insert(&container->mappings, mapping);
    return 0;
}

uint64_t vfio_dma_unmap(struct vfio_container *container, uint64_t start, uint64_t end) {
    uint64_t bytes = 0;
    struct mapping *range;
    while ((range = mapping_tree_at_or_above(&container->mappings, start)) && range->start < end) {
        unmap(container, range->start, range->end);
        bytes += range->end - range->start;
        mapping_tree_remove(&container->mappings, range);
        heap_free(range);
    }
    return bytes;
}

static int64_t unmap_dma(struct vfio_container *container, uint64_t argument) {
    struct vfio_iommu_type1_dma_unmap request;
    const uint64_t size = offsetof(struct vfio_iommu_type1_dma_unmap, data);
    if (copy_from_user(&request, argument, size))
        return -EFAULT;
    bool all = request.flags == VFIO_DMA_UNMAP_FLAG_ALL;
    if (request.argsz < size || (request.flags && !all))
        return -EINVAL;
    uint64_t start = request.iova, end = start + request.size;
    if (all ? request.iova || request.size
            : !request.size || end < start || (start | end) & (PAGE_SIZE - 1))
        return -EINVAL;
    if (all) {
        end = UINT64_MAX;
    } else { // no mapping is cut
        const struct mapping *first = mapping_at(container, start);
        const struct mapping *last = mapping_at(container, end - 1);
        if ((first && first->start != start) || (last && last->end != end))
            return -EINVAL;
    }
    request.size = vfio_dma_unmap(container, start, end);
    return copy_to_user(argument, &request, size);
}

struct information {
    struct vfio_iommu_type1_info info;
    struct {
        struct vfio_iommu_type1_info_cap_iova_range cap;
        struct vfio_iova_range ranges[2];
    } ranges;
    struct vfio_iommu_type1_info_dma_avail available;
};

static int64_t get_info(const struct vfio_container *container, uint64_t argument) {
    const uint32_t least = offsetof(struct vfio_iommu_type1_info, cap_offset);
    uint32_t size;
    if (copy_from_user(&size, argument, sizeof size))
        return -EFAULT;
    if (size < least)
        return -EINVAL;
    bool split = iommu_aperture() > IOMMU_MSI_END;
    struct information answer = {
        .info = {.argsz = sizeof answer,
                 .flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
                 .iova_pgsizes = iommu_page_sizes()},
        .ranges = {.cap = {.header = {VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1,
                                      offsetof(struct information, available)},
                           .nr_iovas = split ? 2 : 1},
                   .ranges = {{0, IOMMU_MSI_BASE - 1}, {IOMMU_MSI_END, iommu_aperture() - 1}}},
        .available = {.header = {VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0},
                      .avail = MAPPINGS_MAX - container->mappings.count},
    };
    if (size >= sizeof answer)
        answer.info.cap_offset = offsetof(struct information, ranges);
    else if (size > sizeof answer.info)
        size = sizeof answer.info;
    return copy_to_user(argument, &answer, size < sizeof answer ? size : sizeof answer);
}

int64_t vfio_dma_ioctl(struct vfio_container *container, unsigned command, uint64_t argument) {
    switch (command) {
    case VFIO_IOMMU_GET_INFO:
        return get_info(container, argument);
    case VFIO_IOMMU_MAP_DMA:
        return map_dma(container, argument);
    case VFIO_IOMMU_UNMAP_DMA:
        return unmap_dma(container, argument);
    default:
        return -ENOTTY;
    }
}
