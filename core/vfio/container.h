// SPDX-License-Identifier: BSD-2-Clause
// Containers, and the groups in them: what devices reach by DMA.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/file/file.h"
#include "core/mm/mapping.h"

struct iommu_domain;

struct vfio_container {
    atomic_bool changing;  // guards the rest
    _Atomic unsigned type; // VFIO_SET_IOMMU's; 0: none yet
    struct list groups;
    struct iommu_domain *domain;  // NULL: no IOMMU
    struct mapping_tree mappings; // of the heap, by I/O virtual address
    uint64_t *pages;              // room for the physical addresses of 2 MiB
};

struct vfio_group {
    unsigned number;
    struct list node; // in its container's
    // Under vfio_groups_lock:
    bool open;
    unsigned devices;       // that are open
    struct file *container; // with a reference; NULL: none
};
extern atomic_bool vfio_groups_lock; // taken before a container's `changing`

// dma = trusted: devices are handed out without an IOMMU, or with one that lets them raise any
// interrupt.
extern bool vfio_trusted;

device_open vfio_container_open;
// NULL: the file is no container.
struct vfio_container *vfio_container_of(const struct file *file);
// The group joins, and its devices are attached if the type is set. 0 or -errno.
int vfio_container_add(struct vfio_container *container, struct vfio_group *group);
// No device of it is open. The last group takes domain and type with it.
void vfio_container_remove(struct vfio_container *container, struct vfio_group *group);

device_open vfio_group_open; // object: struct vfio_group
// NULL: the file is no group.
struct vfio_group *vfio_group_of(const struct file *file);

// dma.c; `changing` held:
// Ends all mappings that begin in [start, end); bytes.
uint64_t vfio_dma_unmap(struct vfio_container *container, uint64_t start, uint64_t end);
// VFIO_IOMMU_*
int64_t vfio_dma_ioctl(struct vfio_container *container, unsigned command, uint64_t argument);
