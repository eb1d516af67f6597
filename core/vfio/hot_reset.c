// SPDX-License-Identifier: BSD-2-Clause
// The reset of all devices on a bus by those who have all their groups.
#include <asm/errno.h>
#include "core/mm/user_copy.h"
#include "core/vfio/container.h"
#include "core/vfio/device.h"

// The head of both structures.
struct request {
    uint32_t argsz, flags, count;
};

static int load(struct request *request, uint64_t from) {
    if (copy_from_user(request, from, sizeof *request))
        return -EFAULT;
    return request->argsz < sizeof *request ? -EINVAL : 0;
}

static struct pci_device *affected(struct list *node, const struct pci_device *pci) {
    struct pci_device *other = container_of(node, struct pci_device, node);
    return other->above == pci->above ? other : NULL;
}

// -ENODEV: no bridge is above, or another one is below and what it hides.
static int count_affected(const struct pci_device *pci, unsigned *count) {
    *count = 0;
    list_for_each(node, &pci_devices) {
        const struct pci_device *other = affected(node, pci);
        if (other && (!pci->above || other->bridge))
            return -ENODEV;
        *count += other != NULL;
    }
    return 0;
}

int64_t vfio_hot_reset_info(const struct vfio_device *device, uint64_t argument) {
    struct request request;
    unsigned count;
    int error = load(&request, argument);
    if (!error)
        error = count_affected(device->pci, &count);
    if (error)
        return error;
    uint64_t to = argument + sizeof request;
    bool room =
        (request.argsz - sizeof request) / sizeof(struct vfio_pci_dependent_device) >= count;
    list_for_each(node, &pci_devices) {
        const struct pci_device *pci = affected(node, device->pci);
        if (!pci || !room)
            continue;
        struct vfio_pci_dependent_device entry = {.group_id = pci->group,
                                                  .bus = (uint8_t)(pci->function >> 8),
                                                  .devfn = (uint8_t)pci->function};
        if (copy_to_user(to, &entry, sizeof entry))
            return -EFAULT;
        to += sizeof entry;
    }
    request.flags = 0;
    request.count = count;
    if (copy_to_user(argument, &request, sizeof request))
        return -EFAULT;
    return room ? 0 : -ENOSPC;
}

// 1: the caller has the group open among the fds at `from`. Else 0 or -errno.
static int has_group(uint64_t from, unsigned count, unsigned number) {
    int found = 0;
    for (unsigned i = 0; i < count && !found; i++) {
        int fd;
        if (copy_from_user(&fd, from + i * sizeof fd, sizeof fd))
            return -EFAULT;
        struct file *file = fd_get(fd);
        const struct vfio_group *group = file ? vfio_group_of(file) : NULL;
        found = !file ? -EBADF : !group ? -EINVAL : group->number == number;
        if (file)
            file_put(file);
    }
    return found;
}

int64_t vfio_hot_reset(const struct vfio_device *device, uint64_t argument) {
    struct request request;
    unsigned count;
    int error = load(&request, argument);
    if (!error)
        error = count_affected(device->pci, &count);
    if (!error && (request.flags || !request.count || request.count > count))
        error = -EINVAL;
    list_for_each(node, &pci_devices) {
        const struct pci_device *pci = affected(node, device->pci);
        int has =
            pci && !error ? has_group(argument + sizeof request, request.count, pci->group) : 1;
        if (has <= 0)
            error = has ? has : -EINVAL;
    }
    if (error)
        return error;
    vfio_lock(&vfio_groups_lock);
    error = pci_bus_reset(device->pci->above);
    list_for_each(node, &pci_devices) {
        struct pci_device *pci = affected(node, device->pci);
        struct vfio_device *owner = pci ? atomic_load(&pci->owner) : NULL;
        if (!owner)
            continue;
        vfio_lock(&owner->changing);
        vfio_irq_restore(owner);
        vfio_unlock(&owner->changing);
    }
    vfio_unlock(&vfio_groups_lock);
    return error;
}
