// SPDX-License-Identifier: BSD-2-Clause
// Devices found, opened and driven by VFIO.
#define _GNU_SOURCE
#include "device.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

uint32_t number_in(const char *address, const char *name) {
    char path[96], text[32] = "";

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 1)
        text[0] = '\0';
    close(fd);
    return (uint32_t)strtoul(text, NULL, 0);
}

// The first device of this vendor and device number (vendor 0: of this class).
bool find(uint32_t vendor, uint32_t kind, char *address) {
    DIR *directory = opendir("/sys/bus/pci/devices");
    struct dirent *entry;
    bool found = false;

    while (directory && !found && (entry = readdir(directory))) {
        if (entry->d_name[0] == '.')
            continue;
        found = vendor ? number_in(entry->d_name, "vendor") == vendor &&
                             number_in(entry->d_name, "device") == kind
                       : number_in(entry->d_name, "class") == kind;
        if (found)
            snprintf(address, 16, "%.12s", entry->d_name);
    }
    if (directory)
        closedir(directory);
    return found;
}

bool find_edu(char *address) {
    return find(0x1234, 0x11e8, address);
}

bool find_nvme(char *address) {
    return find(0, 0x010802, address);
}

bool find_e1000(char *address) {
    return find(0x8086, 0x100e, address);
}

bool find_rng(char *address) {
    return find(0x1af4, 0x1044, address);
}

bool any(char *address) {
    return find_edu(address) || find_nvme(address) || find_e1000(address);
}

void group_path(struct device *device) {
    char link[96], target[96] = "";

    snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/iommu_group", device->address);
    CHECK(readlink(link, target, sizeof(target) - 1) > 0, "%s", link);
    const char *number = strrchr(target, '/') ? strrchr(target, '/') + 1 : "none";
    snprintf(device->group_path, sizeof(device->group_path), "/dev/vfio/%.8s", number);
    device->iommu = access(device->group_path, F_OK) == 0;
    if (!device->iommu)
        snprintf(device->group_path, sizeof(device->group_path), "/dev/vfio/noiommu-%.8s", number);
}

int type_of(const struct device *device) {
    return device->iommu ? VFIO_TYPE1v2_IOMMU : VFIO_NOIOMMU_IOMMU;
}

bool open_device(struct device *device) {
    group_path(device);
    device->container = open("/dev/vfio/vfio", O_RDWR);
    device->group = open(device->group_path, O_RDWR);
    if (!CHECK(device->container >= 0) || !CHECK(device->group >= 0, "%s", device->group_path) ||
        !CHECK(ioctl(device->group, VFIO_GROUP_SET_CONTAINER, &device->container) == 0) ||
        !CHECK(ioctl(device->container, VFIO_SET_IOMMU, type_of(device)) == 0))
        return false;
    device->fd = ioctl(device->group, VFIO_GROUP_GET_DEVICE_FD, device->address);
    if (!CHECK(device->fd >= 0, "%s", device->address))
        return false;
    for (unsigned i = 0; i < VFIO_PCI_VGA_REGION_INDEX; i++) {
        struct vfio_region_info info = {.argsz = sizeof(info), .index = i};

        CHECK(ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &info) == 0, "region %u", i);
        device->offset[i] = info.offset;
        device->size[i] = info.size;
    }
    return true;
}

void close_device(struct device *device) {
    for (unsigned i = 0; i < 2; i++)
        if (device->mapped[i])
            munmap(device->mapped[i], PAGE);
    close(device->fd);
    close(device->group);
    close(device->container);
}

uint32_t config_read(const struct device *device, unsigned at, unsigned size) {
    uint32_t value = 0;

    CHECK(pread(device->fd, &value, size,
                (off_t)(device->offset[VFIO_PCI_CONFIG_REGION_INDEX] + at)) == (ssize_t)size);
    return value;
}

void config_write(const struct device *device, unsigned at, unsigned size, uint32_t value) {
    CHECK(pwrite(device->fd, &value, size,
                 (off_t)(device->offset[VFIO_PCI_CONFIG_REGION_INDEX] + at)) == (ssize_t)size);
}

void allow_dma(const struct device *device) {
    config_write(device, PCI_COMMAND, 2, config_read(device, PCI_COMMAND, 2) | PCI_COMMAND_MASTER);
}

// A page of BAR 0.
volatile uint8_t *map_bar(struct device *device, uint64_t at) {
    void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd,
                        (off_t)(device->offset[0] + at));

    if (!CHECK(memory != MAP_FAILED))
        return NULL;
    device->mapped[device->mapped[0] != NULL] = memory;
    return memory;
}

uint32_t get(volatile uint8_t *registers, unsigned at) {
    return *(volatile uint32_t *)(registers + at);
}

void set(volatile uint8_t *registers, unsigned at, uint32_t value) {
    *(volatile uint32_t *)(registers + at) = value;
}

static uint64_t physical(const volatile void *address) {
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);

    CHECK(pread(fd, &entry, sizeof(entry), (off_t)((uintptr_t)address / PAGE * sizeof(entry))) ==
          sizeof(entry));
    CHECK(entry >> 63 == 1, "pagemap says %#lx", entry);
    close(fd);
    return (entry & ((1ull << 55) - 1)) * PAGE;
}

int map_dma(const struct device *device, const volatile void *at, uint64_t address, size_t size) {
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
                                           .flags =
                                               VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                           .vaddr = (uintptr_t)at,
                                           .iova = address,
                                           .size = size};
    return ioctl(device->container, VFIO_IOMMU_MAP_DMA, &map);
}

// One page.
struct memory dma_memory(const struct device *device, uint64_t address) {
    struct memory memory = {.at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED, -1, 0),
                            .address = address};
    if (device->iommu)
        CHECK(map_dma(device, memory.at, address, PAGE) == 0);
    else
        memory.address = physical(memory.at);
    return memory;
}

int set_irqs(const struct device *device, unsigned index, unsigned flags, unsigned start,
             unsigned count, const void *data, size_t size) {
    struct {
        struct vfio_irq_set set;
        uint8_t data[64];
    } request = {.set = {.argsz = (uint32_t)(offsetof(struct vfio_irq_set, data) + size),
                         .flags = flags,
                         .index = index,
                         .start = start,
                         .count = count}};
    if (size)
        memcpy(request.set.data, data, size);
    return ioctl(device->fd, VFIO_DEVICE_SET_IRQS, &request);
}

int irq_event(const struct device *device, unsigned index) {
    int event = eventfd(0, EFD_NONBLOCK);

    CHECK(set_irqs(device, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
                   &event, sizeof(event)) == 0,
          "index %u", index);
    return event;
}

int irq_off(const struct device *device, unsigned index) {
    return set_irqs(device, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL,
                    0);
}

int unmask(const struct device *device) {
    return set_irqs(device, VFIO_PCI_INTX_IRQ_INDEX,
                    VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, 0);
}

bool comes(int event, int milliseconds) {
    struct pollfd wanted = {.fd = event, .events = POLLIN};
    uint64_t count;

    return poll(&wanted, 1, milliseconds) == 1 && read(event, &count, sizeof(count)) > 0;
}

// QEMU 7.2's model of AMD-Vi stops devices, but never writes to its event log.
bool iommu_reports(void) {
    char address[16];

    return !find(0x1022, 0x0010, address);
}
