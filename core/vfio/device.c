// SPDX-License-Identifier: BSD-2-Clause
// The fd of a device: its description, interrupts, reset, and its end, which is what makes the
// program that drives it one that may die.
#include "core/vfio/device.h"
#include <asm/errno.h>
#include <asm/fcntl.h>
#include <linux/pci_regs.h>
#include "core/file/directory.h"
#include "core/file/eventfd.h"
#include "core/log.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/vfio/container.h"

// Reads a structure of at least `least` bytes that begins with its size. 0, -EFAULT, -EINVAL.
static int load(void *to, uint64_t from, uint32_t least) {
    if (copy_from_user(to, from, least))
        return -EFAULT;
    return *(uint32_t *)to < least ? -EINVAL : 0;
}

static int64_t get_info(const struct vfio_device *device, uint64_t argument) {
    struct vfio_device_info info = {0};
    const uint32_t least = offsetof(struct vfio_device_info, cap_offset);
    int error = load(&info, argument, least);
    if (error)
        return error;
    info.flags = VFIO_DEVICE_FLAGS_PCI | (pci_can_reset(device->pci) ? VFIO_DEVICE_FLAGS_RESET : 0);
    info.num_regions = VFIO_PCI_NUM_REGIONS;
    info.num_irqs = VFIO_PCI_NUM_IRQS;
    return copy_to_user(argument, &info, info.argsz < sizeof info ? least : sizeof info);
}

// The areas of a BAR before and behind the MSI-X table, or that it may be mapped as a whole.
struct region_capability {
    struct vfio_region_info_cap_sparse_mmap sparse;
    struct vfio_region_sparse_mmap_area areas[2];
};

static uint32_t describe_table(const struct vfio_device *device, unsigned index,
                               struct region_capability *capability) {
    uint64_t start, end, size = vfio_region_size(device, index);
    *capability = (struct region_capability){0};
    capability->sparse.header =
        (struct vfio_info_cap_header){VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, 0};
    if (!vfio_region_hole(device, index, &start, &end))
        return vfio_region_has_table(device, index) ? sizeof capability->sparse.header : 0;
    capability->sparse.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
    unsigned areas = 0;
    if (start)
        capability->areas[areas++] = (struct vfio_region_sparse_mmap_area){0, start};
    if (end < size)
        capability->areas[areas++] = (struct vfio_region_sparse_mmap_area){end, size - end};
    capability->sparse.nr_areas = areas;
    return sizeof capability->sparse + areas * sizeof capability->areas[0];
}

static int64_t get_region_info(const struct vfio_device *device, uint64_t argument) {
    struct vfio_region_info info;
    struct region_capability capability;
    int error = load(&info, argument, sizeof info);
    if (error)
        return error;
    if (info.index >= VFIO_PCI_NUM_REGIONS || info.index == VFIO_PCI_VGA_REGION_INDEX)
        return -EINVAL;
    info.size = vfio_region_size(device, info.index);
    info.offset = (uint64_t)info.index << 40;
    info.flags = info.size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
    info.cap_offset = 0;
    uint32_t size = 0;
    if (vfio_region_can_map(device, info.index)) {
        info.flags |= VFIO_REGION_INFO_FLAG_MMAP;
        size = describe_table(device, info.index, &capability);
    }
    bool room = info.argsz >= sizeof info + size;
    if (size) {
        info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
        info.cap_offset = room ? sizeof info : 0;
        info.argsz = room ? info.argsz : (uint32_t)sizeof info + size;
    }
    if (size && room && copy_to_user(argument + sizeof info, &capability, size))
        return -EFAULT;
    return copy_to_user(argument, &info, sizeof info);
}

static int64_t get_irq_info(const struct vfio_device *device, uint64_t argument) {
    struct vfio_irq_info info;
    int error = load(&info, argument, sizeof info);
    if (error)
        return error;
    if (info.index >= VFIO_PCI_NUM_IRQS ||
        (info.index == VFIO_PCI_ERR_IRQ_INDEX && !device->pci->express))
        return -EINVAL;
    info.count = vfio_irq_count(device, info.index);
    info.flags = VFIO_IRQ_INFO_EVENTFD | (info.index == VFIO_PCI_INTX_IRQ_INDEX
                                              ? VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED
                                              : VFIO_IRQ_INFO_NORESIZE);
    return copy_to_user(argument, &info, sizeof info);
}

static int64_t set_irqs(struct vfio_device *device, uint64_t argument) {
    struct vfio_irq_set set;
    const uint32_t least = offsetof(struct vfio_irq_set, data);
    int error = load(&set, argument, least);
    if (error)
        return error;
    uint32_t type = set.flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
    uint32_t action = set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
    uint32_t unit = type == VFIO_IRQ_SET_DATA_EVENTFD ? sizeof(int32_t)
                    : type == VFIO_IRQ_SET_DATA_BOOL  ? sizeof(uint8_t)
                                                      : 0;
    if (set.flags & ~(uint32_t)(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK) ||
        !type || type & (type - 1) || set.index >= VFIO_PCI_NUM_IRQS)
        return -EINVAL;
    uint32_t count = vfio_irq_count(device, set.index);
    if (set.start >= count || set.count > count - set.start ||
        (unit && (!set.count || set.argsz - least < set.count * unit)))
        return -EINVAL;
    if (!action || action & (action - 1))
        return -ENOTTY;
    vfio_lock(&device->changing);
    error = vfio_irq_set(device, &set, argument + least);
    vfio_unlock(&device->changing);
    return error;
}

static int64_t reset(struct vfio_device *device) {
    if (!pci_can_reset(device->pci))
        return -EINVAL;
    vfio_lock(&device->changing);
    int error = pci_reset(device->pci);
    if (!error)
        vfio_irq_restore(device);
    vfio_unlock(&device->changing);
    return error;
}

static int64_t device_ioctl(struct file *file, unsigned command, uint64_t argument) {
    struct vfio_device *device = file->object;
    switch (command) {
    case VFIO_DEVICE_GET_INFO:
        return get_info(device, argument);
    case VFIO_DEVICE_GET_REGION_INFO:
        return get_region_info(device, argument);
    case VFIO_DEVICE_GET_IRQ_INFO:
        return get_irq_info(device, argument);
    case VFIO_DEVICE_SET_IRQS:
        return set_irqs(device, argument);
    case VFIO_DEVICE_RESET:
        return reset(device);
    case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
        return vfio_hot_reset_info(device, argument);
    case VFIO_DEVICE_PCI_HOT_RESET:
        return vfio_hot_reset(device, argument);
    default:
        return -ENOTTY;
    }
}

// Bus mastering ends first, so no memory is reached any more when it becomes others'.
static void device_release(struct file *file) {
    struct vfio_device *device = file->object;
    struct pci_device *pci = device->pci;
    struct vfio_group *group = device->group->object;
    vfio_lock(&vfio_groups_lock);
    pci_quiesce(pci);
    vfio_region_revoke(device);
    vfio_irq_disable(device);
    int error = pci_reset(pci);
    if (error == -ENOTTY)
        pci_settle();
    else if (error)
        log_line("PCI %x: the device does not come back after its reset", pci->function);
    pci_quiesce(pci); // the reset has put the command register back
    atomic_store(&pci->owner, NULL);
    group->devices--;
    vfio_unlock(&vfio_groups_lock);
    cpu_synchronize(); // a fault may be being reported
    file_put_deferred(device->group);
    if (device->space)
        address_space_put(device->space);
    heap_free(device);
}

static const struct file_ops device_ops = {
    .name = "vfio-device",
    .read = vfio_region_read,
    .write = vfio_region_write,
    .seek = directory_seek,
    .ioctl = device_ioctl,
    .map = vfio_region_map,
    .release = device_release,
};

static void report_fault(struct iommu_device *dma) {
    struct pci_device *pci = container_of(dma, struct pci_device, dma);
    struct vfio_device *device = atomic_load(&pci->owner);
    struct eventfd *eventfd = device ? atomic_load(&device->error.eventfd) : NULL;
    if (eventfd)
        eventfd_signal(eventfd, 1);
}

// As vfio-pci: the device answers at its addresses, is in its first state if it can be, and does
// no DMA yet.
static void start(struct pci_device *pci) {
    pci_quiesce(pci);
    if (pci->power) {
        uint32_t state = pci_read(pci->function, pci->power + (unsigned)PCI_PM_CTRL, 2);
        pci_write(pci->function, pci->power + (unsigned)PCI_PM_CTRL, 2,
                  state & ~(uint32_t)PCI_PM_CTRL_STATE_MASK);
    }
    // Its line is off until somebody listens: others of the same line could not make it fall.
    pci_write(pci->function, PCI_COMMAND, 2,
              pci_read(pci->function, PCI_COMMAND, 2) | PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
                  PCI_COMMAND_INTX_DISABLE);
    pci_reset(pci);
    pci->dma.fault = report_fault;
}

int vfio_device_open(struct pci_device *pci, struct file *group) {
    struct vfio_device *device = heap_new(struct vfio_device);
    if (!device)
        return -ENOMEM;
    start(pci);
    device->pci = pci;
    device->group = group;
    device->index = VFIO_PCI_NUM_IRQS;
    vfio_line_init(device);
    config_space_init(&device->config, pci, device->line.count);
    int fd = fd_create(&device_ops, device, O_RDWR, true);
    if (fd < 0) {
        heap_free(device);
        return fd;
    }
    // A device that reaches all memory keeps the program's until it is quiet.
    if (!iommu_present()) {
        device->space = process_current()->space;
        address_space_get(device->space);
    }
    file_get(group);
    atomic_store(&pci->owner, device);
    return fd;
}
