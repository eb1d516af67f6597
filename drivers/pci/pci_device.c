// SPDX-License-Identifier: BSD-2-Clause
// Each group of devices that an IOMMU cannot tell apart has a container of its own, so a device
// reaches nothing of those in other groups.
#define _GNU_SOURCE // strdup
#include "drivers/pci/pci_device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define CAPABILITIES_MAX 48 // of the 192 bytes that can hold them, 4 each

struct pci_group {
    char number[16];
    int fd, container;
    unsigned users;
    struct dma_space dma;
    struct pci_group *next;
};

static struct pci_group *groups;

static int read_number(const char *address, const char *name, unsigned long *number) {
    char path[128], text[32] = "";

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t got = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (got <= 0)
        return -EIO;
    *number = strtoul(text, NULL, 16);
    return 0;
}

int pci_identify(const char *address, struct pci_identity *identity) {
    unsigned long vendor, device, class;

    if (strlen(address) >= sizeof(identity->address) || strchr(address, '/'))
        return -EINVAL;
    if (read_number(address, "vendor", &vendor) || read_number(address, "device", &device) ||
        read_number(address, "class", &class))
        return -ENODEV;
    *identity = (struct pci_identity){
        .vendor = (uint16_t)vendor, .device = (uint16_t)device, .class = (uint32_t) class};
    memcpy(identity->address, address, strlen(address));
    return 0;
}

static int compare_addresses(const void *first, const void *second) {
    return strcmp(((const struct pci_identity *)first)->address,
                  ((const struct pci_identity *)second)->address);
}

unsigned pci_list(struct pci_identity *list, unsigned max) {
    DIR *directory = opendir("/sys/bus/pci/devices");
    const struct dirent *entry;
    unsigned count = 0;

    while (directory && count < max && (entry = readdir(directory)))
        if (entry->d_name[0] != '.' && !pci_identify(entry->d_name, &list[count]))
            count++;
    if (directory)
        closedir(directory);
    qsort(list, count, sizeof(*list), compare_addresses);
    return count;
}

static int group_number(const char *address, char number[16]) {
    char path[128], target[256];

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", address);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    if (length < 0)
        return -errno;
    target[length] = 0;
    const char *slash = strrchr(target, '/');
    const char *name = slash ? slash + 1 : target;
    if (strlen(name) >= 16)
        return -EINVAL;
    memcpy(number, name, strlen(name) + 1);
    return 0;
}

static int attach_container(struct pci_group *group, bool iommu) {
    struct vfio_group_status status = {.argsz = sizeof(status)};

    if (ioctl(group->container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
        return -EINVAL;
    if (ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status) < 0)
        return -errno;
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
        return -EPERM; // a driver of the kernel holds a device of the group
    if (ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &group->container) < 0 ||
        ioctl(group->container, VFIO_SET_IOMMU, iommu ? VFIO_TYPE1v2_IOMMU : VFIO_NOIOMMU_IOMMU) <
            0)
        return -errno;
    return dma_open(&group->dma, group->container, iommu);
}

static void group_close(struct pci_group *group) {
    if (--group->users)
        return;
    for (struct pci_group **link = &groups; *link; link = &(*link)->next) {
        if (*link == group) {
            *link = group->next;
            dma_close(&group->dma);
            break;
        }
    }
    if (group->fd >= 0)
        close(group->fd);
    if (group->container >= 0)
        close(group->container);
    free(group);
}

static struct pci_group *group_open(const char *number) {
    struct pci_group *group = groups;
    char path[64];

    while (group && strcmp(group->number, number) != 0)
        group = group->next;
    if (group) {
        group->users++;
        return group;
    }
    group = calloc(1, sizeof(*group));
    if (!group)
        return NULL;
    memcpy(group->number, number, strlen(number) + 1);
    group->users = 1;
    snprintf(path, sizeof(path), "/dev/vfio/%s", number);
    group->fd = open(path, O_RDWR | O_CLOEXEC);
    bool iommu = group->fd >= 0 || errno != ENOENT;
    if (!iommu) {
        snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", number);
        group->fd = open(path, O_RDWR | O_CLOEXEC);
    }
    int error = group->fd < 0 ? -errno : 0;
    group->container = error ? -1 : open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
    if (!error)
        error = group->container < 0 ? -errno : attach_container(group, iommu);
    if (error) {
        group_close(group);
        errno = -error;
        return NULL;
    }
    group->next = groups;
    groups = group;
    return group;
}

static int take_over(struct pci_device *device) {
    struct vfio_device_info info = {.argsz = sizeof(info)};
    char number[16];
    int error = group_number(device->identity.address, number);

    if (error)
        return error;
    device->group = group_open(number);
    if (!device->group)
        return -errno;
    device->dma = &device->group->dma;
    device->fd = ioctl(device->group->fd, VFIO_GROUP_GET_DEVICE_FD, device->identity.address);
    if (device->fd < 0 || ioctl(device->fd, VFIO_DEVICE_GET_INFO, &info) < 0)
        return -errno;
    for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
        device->regions[i] =
            (struct vfio_region_info){.argsz = sizeof(device->regions[i]), .index = i};
        if (ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &device->regions[i]) < 0)
            device->regions[i].size = 0; // as of a device without one
    }
    // Not every device can be reset by the bus: drivers reset theirs as well.
    if (info.flags & VFIO_DEVICE_FLAGS_RESET)
        ioctl(device->fd, VFIO_DEVICE_RESET);
    uint32_t command = pci_read(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2);
    pci_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2,
              command | PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    return 0;
}

struct pci_device *pci_open(const char *address) {
    struct pci_device *device = calloc(1, sizeof(*device));
    int error = -ENOMEM;

    if (device) {
        device->fd = -1;
        error = pci_identify(address, &device->identity);
        if (!error)
            error = take_over(device);
        if (!error)
            return device;
        pci_close(device);
    }
    fprintf(stderr, "drivers: cannot take over PCI device %s: %s\n", address, strerror(-error));
    return NULL;
}

void pci_stop_dma(const struct pci_device *device) {
    uint32_t command = pci_read(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2);

    pci_write(device, VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, 2,
              command & ~(uint32_t)PCI_COMMAND_MASTER);
}

void pci_close(struct pci_device *device) {
    if (device->fd >= 0) {
        pci_stop_dma(device);
        close(device->fd);
    }
    for (unsigned i = 0; i < device->vectors; i++)
        close(device->interrupts[i]);
    if (device->group)
        group_close(device->group);
    free(device);
}

volatile void *pci_map(struct pci_device *device, unsigned bar, uint64_t offset, size_t size) {
    size_t within = offset % DMA_PAGE;
    const struct vfio_region_info *info = &device->regions[bar];

    if (bar > VFIO_PCI_BAR5_REGION_INDEX || !(info->flags & VFIO_REGION_INFO_FLAG_MMAP) ||
        offset > info->size || size > info->size - offset)
        return NULL;
    uint8_t *page = mmap(NULL, within + size, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd,
                         (off_t)(info->offset + offset - within));
    return page == MAP_FAILED ? NULL : page + within;
}

void pci_unmap(volatile void *registers, size_t size) {
    uintptr_t within = (uintptr_t)registers % DMA_PAGE;

    munmap((uint8_t *)registers - within, within + size);
}

uint64_t pci_region_size(const struct pci_device *device, unsigned region) {
    return device->regions[region].size;
}

uint32_t pci_read(const struct pci_device *device, unsigned region, uint64_t offset,
                  unsigned size) {
    uint32_t value = 0;

    if (pread(device->fd, &value, size, (off_t)(device->regions[region].offset + offset)) !=
        (ssize_t)size)
        return UINT32_MAX >> (32 - size * 8);
    return value;
}

void pci_write(const struct pci_device *device, unsigned region, uint64_t offset, unsigned size,
               uint32_t value) {
    // What does not arrive shows when the device is asked.
    if (pwrite(device->fd, &value, size, (off_t)(device->regions[region].offset + offset)) !=
        (ssize_t)size)
        return;
}

unsigned pci_find_capability(const struct pci_device *device, uint8_t id, unsigned after) {
    unsigned region = VFIO_PCI_CONFIG_REGION_INDEX;
    unsigned at = after ? after + PCI_CAP_LIST_NEXT : PCI_CAPABILITY_LIST;

    for (unsigned i = 0; i < CAPABILITIES_MAX; i++) {
        unsigned next = pci_read(device, region, at, 1) & ~3u;

        if (next < PCI_STD_HEADER_SIZEOF || next == 0xfc)
            return 0;
        if (pci_read(device, region, next + PCI_CAP_LIST_ID, 1) == id)
            return next;
        at = next + PCI_CAP_LIST_NEXT;
    }
    return 0;
}

static int set_eventfds(struct pci_device *device, unsigned index, unsigned count) {
    struct {
        struct vfio_irq_set set;
        int32_t fds[PCI_VECTORS_MAX];
    } request = {.set = {.argsz = sizeof(struct vfio_irq_set) + count * sizeof(int32_t),
                         .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                         .index = index,
                         .count = count}};

    memcpy(request.fds, device->interrupts, count * sizeof(int32_t));
    return ioctl(device->fd, VFIO_DEVICE_SET_IRQS, &request) < 0 ? -errno : 0;
}

int pci_enable_interrupts(struct pci_device *device, unsigned wanted) {
    static const unsigned kinds[] = {VFIO_PCI_MSIX_IRQ_INDEX, VFIO_PCI_MSI_IRQ_INDEX,
                                     VFIO_PCI_INTX_IRQ_INDEX};

    if (wanted > PCI_VECTORS_MAX)
        wanted = PCI_VECTORS_MAX;
    while (device->vectors < wanted) {
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

        if (fd < 0)
            return -errno;
        device->interrupts[device->vectors++] = fd;
    }
    for (unsigned i = 0; i < 3; i++) {
        struct vfio_irq_info info = {.argsz = sizeof(info), .index = kinds[i]};

        if (ioctl(device->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 || !info.count)
            continue;
        unsigned count = info.count < wanted ? info.count : wanted;
        // MSI's vectors share registers, which few devices offer and none here needs.
        if (kinds[i] == VFIO_PCI_MSI_IRQ_INDEX)
            count = 1;
        if (set_eventfds(device, kinds[i], count) < 0)
            continue;
        device->intx = kinds[i] == VFIO_PCI_INTX_IRQ_INDEX;
        return (int)count;
    }
    return 0;
}

void pci_interrupt_served(struct pci_device *device) {
    struct vfio_irq_set set = {.argsz = sizeof(set),
                               .flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
                               .index = VFIO_PCI_INTX_IRQ_INDEX,
                               .count = 1};

    if (device->intx)
        ioctl(device->fd, VFIO_DEVICE_SET_IRQS, &set);
}
