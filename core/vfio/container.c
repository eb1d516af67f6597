// SPDX-License-Identifier: BSD-2-Clause
// /dev/vfio/vfio.
#include "core/vfio/container.h"
#include <asm/errno.h>
#include <asm/fcntl.h>
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/sched/scheduler.h"
#include "core/vfio/device.h"

bool vfio_trusted;

void vfio_lock(atomic_bool *lock) {
    while (atomic_exchange(lock, true)) {
        thread_preemption_point(); // the owner may be waiting for this CPU's answer
        scheduler_yield();
    }
}

void vfio_unlock(atomic_bool *lock) {
    atomic_store(lock, false);
}

static void detach(const struct vfio_group *group) {
    list_for_each(node, &pci_devices) {
        struct pci_device *pci = container_of(node, struct pci_device, node);
        if (pci->group == group->number && pci->attached)
            iommu_detach(&pci->dma);
        if (pci->group == group->number)
            pci->attached = false;
    }
}

static int attach(struct vfio_container *container, const struct vfio_group *group) {
    int error = 0;
    list_for_each(node, &pci_devices) {
        struct pci_device *pci = container_of(node, struct pci_device, node);
        if (error || pci->group != group->number || pci->kernel_uses || pci->alias != pci)
            continue;
        error = iommu_attach(container->domain, &pci->dma);
        pci->attached = !error;
    }
    if (error)
        detach(group);
    return error;
}

int vfio_container_add(struct vfio_container *container, struct vfio_group *group) {
    vfio_lock(&container->changing);
    int error = container->domain ? attach(container, group) : 0;
    if (!error)
        list_push_back(&container->groups, &group->node);
    vfio_unlock(&container->changing);
    return error;
}

// Changing held; no device is attached.
static void release_domain(struct vfio_container *container) {
    if (container->pages)
        vfio_dma_unmap(container, 0, UINT64_MAX);
    if (container->domain)
        iommu_domain_free(container->domain);
    heap_free(container->pages);
    container->pages = NULL;
    container->domain = NULL;
    atomic_store(&container->type, 0);
}

void vfio_container_remove(struct vfio_container *container, struct vfio_group *group) {
    vfio_lock(&container->changing);
    if (container->domain)
        detach(group);
    list_remove(&group->node);
    if (list_empty(&container->groups))
        release_domain(container);
    vfio_unlock(&container->changing);
}

static int64_t check_extension(uint64_t extension) {
    switch (extension) {
    case VFIO_TYPE1_IOMMU:
    case VFIO_TYPE1v2_IOMMU:
    case VFIO_UNMAP_ALL:
        return iommu_present();
    case VFIO_NOIOMMU_IOMMU:
        return !iommu_present() && vfio_trusted;
    default:
        return 0;
    }
}

static int make_domain(struct vfio_container *container) {
    if (!iommu_remaps_interrupts() && !vfio_trusted)
        return -EPERM;
    int error = -ENOMEM;
    container->domain = iommu_domain_create();
    container->pages = heap_alloc(PAGE_SIZE);
    if (!container->domain || !container->pages)
        goto failed;
    list_for_each(node, &container->groups) {
        error = attach(container, container_of(node, struct vfio_group, node));
        if (error)
            goto failed;
    }
    return 0;
failed:
    list_for_each(node, &container->groups) detach(container_of(node, struct vfio_group, node));
    release_domain(container);
    return error;
}

// Changing held.
static int64_t set_type(struct vfio_container *container, uint64_t type) {
    if (list_empty(&container->groups) || atomic_load(&container->type))
        return -EINVAL;
    if (type != VFIO_TYPE1_IOMMU && type != VFIO_TYPE1v2_IOMMU && type != VFIO_NOIOMMU_IOMMU)
        return -ENODEV;
    if (!check_extension(type))
        return -ENODEV;
    int error = type == VFIO_NOIOMMU_IOMMU ? 0 : make_domain(container);
    if (!error)
        atomic_store(&container->type, (unsigned)type);
    return error;
}

static int64_t container_ioctl(struct file *file, unsigned command, uint64_t argument) {
    struct vfio_container *container = file->object;
    int64_t result;
    switch (command) {
    case VFIO_GET_API_VERSION:
        return VFIO_API_VERSION;
    case VFIO_CHECK_EXTENSION:
        return check_extension(argument);
    }
    vfio_lock(&container->changing);
    if (command == VFIO_SET_IOMMU)
        result = set_type(container, argument);
    else if (!atomic_load(&container->type))
        result = -EINVAL;
    else
        result = container->domain ? vfio_dma_ioctl(container, command, argument) : -ENOTTY;
    vfio_unlock(&container->changing);
    return result;
}

// Groups hold the file, so none is left.
static void container_release(struct file *file) {
    heap_free(file->object);
}

static const struct file_ops container_ops = {
    .name = "vfio", .ioctl = container_ioctl, .release = container_release};

struct vfio_container *vfio_container_of(const struct file *file) {
    return file->ops == &container_ops ? file->object : NULL;
}

struct file *vfio_container_open(void *object, int flags, int *error) {
    struct vfio_container *container = heap_new(struct vfio_container);
    *error = -ENOMEM;
    if (!container)
        return NULL;
    list_init(&container->groups);
    mapping_tree_init(&container->mappings);
    struct file *file = file_create(&container_ops, container, (uint32_t)flags & O_ACCMODE);
    if (!file)
        heap_free(container);
    return file;
}
