// SPDX-License-Identifier: BSD-2-Clause
// The memory that one device can reach. With an IOMMU it reaches what is mapped here, at addresses
// given here; without one, physical addresses, found through /proc/self/pagemap.
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DMA_PAGE         4096u
#define DMA_NONE         UINT64_MAX
#define DMA_MAPPINGS_MAX 96

struct dma_mapping {
    uint8_t *memory;
    size_t size;
    uint64_t address; // the device's, where there is an IOMMU
    uint64_t *pages;  // else the physical address of each page
};

struct dma_space {
    int container; // VFIO's
    int pagemap;   // -1 with an IOMMU
    pthread_rwlock_t lock;
    unsigned count;
    struct dma_mapping mappings[DMA_MAPPINGS_MAX];
};

// `container` has its IOMMU type set. 0 or -errno.
int dma_open(struct dma_space *space, int container, bool iommu);
void dma_close(struct dma_space *space);

// Memory for the driver's own use, zeroed, beginning on a page, at device addresses below 4 GiB
// where that can be had; kept until dma_close. NULL with errno set.
void *dma_allocate(struct dma_space *space, size_t size);

// Lets the device reach memory of others, whole pages, until dma_unmap. 0 or -errno; -EOPNOTSUPP
// without an IOMMU: nothing would keep the pages where they are, so data in such memory is copied.
int dma_map(struct dma_space *space, void *memory, size_t size);
void dma_unmap(struct dma_space *space, void *memory);

// The device's address of memory; *size is cut to what follows there in one piece. DMA_NONE where
// the device cannot reach it.
uint64_t dma_address(struct dma_space *space, const void *memory, size_t *size);
