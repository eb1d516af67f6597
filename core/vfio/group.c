// SPDX-License-Identifier: BSD-2-Clause
// /dev/vfio/N, /dev/vfio/noiommu-N: the devices that an IOMMU cannot keep from each other.
#include <asm/errno.h>
#include <asm/fcntl.h>
#include "core/mm/user_copy.h"
#include "core/string.h"
#include "core/vfio/container.h"
#include "core/vfio/device.h"

atomic_bool vfio_groups_lock;

static int64_t get_status(const struct vfio_group *group, uint64_t argument) {
    struct vfio_group_status status;
    if (copy_from_user(&status, argument, sizeof status))
        return -EFAULT;
    if (status.argsz < sizeof status)
        return -EINVAL;
    // No driver of the kernel's has a device that a program could have.
    status.flags =
        VFIO_GROUP_FLAGS_VIABLE | (group->container ? VFIO_GROUP_FLAGS_CONTAINER_SET : 0);
    return copy_to_user(argument, &status, sizeof status);
}

static int64_t set_container(struct vfio_group *group, uint64_t argument) {
    int fd;
    if (copy_from_user(&fd, argument, sizeof fd))
        return -EFAULT;
    if (group->container || fd < 0)
        return -EINVAL;
    struct file *file = fd_get(fd);
    if (!file)
        return -EBADF;
    struct vfio_container *container = vfio_container_of(file);
    int error = container ? vfio_container_add(container, group) : -EINVAL;
    if (error)
        file_put(file);
    else
        group->container = file;
    return error;
}

static void leave_container(struct vfio_group *group) {
    vfio_container_remove(vfio_container_of(group->container), group);
    file_put_deferred(group->container);
    group->container = NULL;
}

static int64_t get_device(struct vfio_group *group, struct file *file, uint64_t argument) {
    char wanted[2 * PCI_NAME_SIZE], name[PCI_NAME_SIZE];
    int64_t length = copy_string_from_user(wanted, argument, sizeof wanted);
    if (length == -EFAULT)
        return -EFAULT;
    if (!group->container || !atomic_load(&vfio_container_of(group->container)->type))
        return -EINVAL;
    list_for_each(node, &pci_devices) {
        struct pci_device *pci = container_of(node, struct pci_device, node);
        pci_name(pci, name);
        if (length < 0 || pci->group != group->number || pci->kernel_uses || strcmp(name, wanted))
            continue;
        int fd = atomic_load(&pci->owner) ? -EBUSY : vfio_device_open(pci, file);
        group->devices += fd >= 0;
        return fd;
    }
    return -ENODEV;
}

static int64_t change(struct vfio_group *group, struct file *file, unsigned command,
                      uint64_t argument) {
    switch (command) {
    case VFIO_GROUP_GET_STATUS:
        return get_status(group, argument);
    case VFIO_GROUP_SET_CONTAINER:
        return set_container(group, argument);
    case VFIO_GROUP_UNSET_CONTAINER:
        if (!group->container || group->devices)
            return group->container ? -EBUSY : -EINVAL;
        leave_container(group);
        return 0;
    case VFIO_GROUP_GET_DEVICE_FD:
        return get_device(group, file, argument);
    default:
        return -ENOTTY;
    }
}

static int64_t group_ioctl(struct file *file, unsigned command, uint64_t argument) {
    vfio_lock(&vfio_groups_lock);
    int64_t result = change(file->object, file, command, argument);
    vfio_unlock(&vfio_groups_lock);
    return result;
}

// Devices hold the file, so none is open.
static void group_release(struct file *file) {
    struct vfio_group *group = file->object;
    vfio_lock(&vfio_groups_lock);
    if (group->container)
        leave_container(group);
    group->open = false;
    vfio_unlock(&vfio_groups_lock);
}

static const struct file_ops group_ops = {
    .name = "vfio-group", .ioctl = group_ioctl, .release = group_release};

struct vfio_group *vfio_group_of(const struct file *file) {
    return file->ops == &group_ops ? file->object : NULL;
}

struct file *vfio_group_open(void *object, int flags, int *error) {
    struct vfio_group *group = object;
    struct file *file = NULL;
    vfio_lock(&vfio_groups_lock);
    *error = group->open ? -EBUSY : -ENOMEM;
    if (!group->open)
        file = file_create(&group_ops, group, (uint32_t)flags & O_ACCMODE);
    group->open |= file != NULL;
    vfio_unlock(&vfio_groups_lock);
    return file;
}
