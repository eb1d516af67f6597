// SPDX-License-Identifier: BSD-2-Clause
// VFIO at devices of the machine: QEMU's edu (hw/misc/edu.c in its documentation, docs/specs/edu),
// an NVMe controller, Intel's e1000. Runs on Linux too, where vfio-pci has the devices.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define PAGE     4096u
#define DMA_BASE 0x100000u // I/O virtual addresses from here
#define WAIT     2000      // ms for an interrupt that must come
#define NO_WAIT  50        // ms in which none may

struct device {
    char address[16], group_path[32];
    int container, group, fd;
    bool iommu;
    uint64_t offset[VFIO_PCI_NUM_REGIONS], size[VFIO_PCI_NUM_REGIONS];
    void *mapped[2]; // pages of BARs, which on Linux keep the device
};

struct memory { // that a device reaches
    volatile uint8_t *at;
    uint64_t address; // the device's
};

static uint32_t number_in(const char *address, const char *name) {
    char path[96], text[32] = "";

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 1)
        text[0] = '\0';
    close(fd);
    return (uint32_t)strtoul(text, NULL, 0);
}

// The first device of this vendor and device number (vendor 0: of this class).
static bool find(uint32_t vendor, uint32_t kind, char *address) {
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

static bool find_edu(char *address) {
    return find(0x1234, 0x11e8, address);
}

static bool find_nvme(char *address) {
    return find(0, 0x010802, address);
}

static bool find_e1000(char *address) {
    return find(0x8086, 0x100e, address);
}

static bool find_rng(char *address) {
    return find(0x1af4, 0x1044, address);
}

static bool any(char *address) {
    return find_edu(address) || find_nvme(address) || find_e1000(address);
}

static void group_path(struct device *device) {
    char link[96], target[96] = "";

    snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/iommu_group", device->address);
    CHECK(readlink(link, target, sizeof(target) - 1) > 0, "%s", link);
    const char *number = strrchr(target, '/') ? strrchr(target, '/') + 1 : "none";
    snprintf(device->group_path, sizeof(device->group_path), "/dev/vfio/%.8s", number);
    device->iommu = access(device->group_path, F_OK) == 0;
    if (!device->iommu)
        snprintf(device->group_path, sizeof(device->group_path), "/dev/vfio/noiommu-%.8s", number);
}

static int type_of(const struct device *device) {
    return device->iommu ? VFIO_TYPE1v2_IOMMU : VFIO_NOIOMMU_IOMMU;
}

static bool open_device(struct device *device) {
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

static void close_device(struct device *device) {
    for (unsigned i = 0; i < 2; i++)
        if (device->mapped[i])
            munmap(device->mapped[i], PAGE);
    close(device->fd);
    close(device->group);
    close(device->container);
}

static uint32_t config_read(const struct device *device, unsigned at, unsigned size) {
    uint32_t value = 0;

    CHECK(pread(device->fd, &value, size,
                (off_t)(device->offset[VFIO_PCI_CONFIG_REGION_INDEX] + at)) == (ssize_t)size);
    return value;
}

static void config_write(const struct device *device, unsigned at, unsigned size, uint32_t value) {
    CHECK(pwrite(device->fd, &value, size,
                 (off_t)(device->offset[VFIO_PCI_CONFIG_REGION_INDEX] + at)) == (ssize_t)size);
}

static void allow_dma(const struct device *device) {
    config_write(device, PCI_COMMAND, 2, config_read(device, PCI_COMMAND, 2) | PCI_COMMAND_MASTER);
}

// A page of BAR 0.
static volatile uint8_t *map_bar(struct device *device, uint64_t at) {
    void *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd,
                        (off_t)(device->offset[0] + at));

    if (!CHECK(memory != MAP_FAILED))
        return NULL;
    device->mapped[device->mapped[0] != NULL] = memory;
    return memory;
}

static uint32_t get(volatile uint8_t *registers, unsigned at) {
    return *(volatile uint32_t *)(registers + at);
}

static void set(volatile uint8_t *registers, unsigned at, uint32_t value) {
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

static int map_dma(const struct device *device, const volatile void *at, uint64_t address,
                   size_t size) {
    struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
                                           .flags =
                                               VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                                           .vaddr = (uintptr_t)at,
                                           .iova = address,
                                           .size = size};
    return ioctl(device->container, VFIO_IOMMU_MAP_DMA, &map);
}

// One page.
static struct memory dma_memory(const struct device *device, uint64_t address) {
    struct memory memory = {.at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                                       MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED, -1, 0),
                            .address = address};
    if (device->iommu)
        CHECK(map_dma(device, memory.at, address, PAGE) == 0);
    else
        memory.address = physical(memory.at);
    return memory;
}

static int set_irqs(const struct device *device, unsigned index, unsigned flags, unsigned start,
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

static int irq_event(const struct device *device, unsigned index) {
    int event = eventfd(0, EFD_NONBLOCK);

    CHECK(set_irqs(device, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
                   &event, sizeof(event)) == 0,
          "index %u", index);
    return event;
}

static int irq_off(const struct device *device, unsigned index) {
    return set_irqs(device, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL,
                    0);
}

static int unmask(const struct device *device) {
    return set_irqs(device, VFIO_PCI_INTX_IRQ_INDEX,
                    VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, NULL, 0);
}

static bool comes(int event, int milliseconds) {
    struct pollfd wanted = {.fd = event, .events = POLLIN};
    uint64_t count;

    return poll(&wanted, 1, milliseconds) == 1 && read(event, &count, sizeof(count)) > 0;
}

// --- the API

static void test_groups(void) {
    struct device device = {0};
    struct vfio_group_status status = {.argsz = sizeof(status)};

    if (!CHECK(any(device.address), "no device that this program knows"))
        return;
    group_path(&device);
    int container = open("/dev/vfio/vfio", O_RDWR);
    CHECK_EQUAL(ioctl(container, VFIO_GET_API_VERSION), VFIO_API_VERSION);
    CHECK_EQUAL(ioctl(container, VFIO_CHECK_EXTENSION, type_of(&device)), 1);
    CHECK_EQUAL(ioctl(container, VFIO_CHECK_EXTENSION, VFIO_SPAPR_TCE_IOMMU), 0);
    CHECK(ioctl(container, VFIO_SET_IOMMU, type_of(&device)) < 0 && errno == EINVAL);
    CHECK(ioctl(container, VFIO_IOMMU_GET_INFO, 0) < 0 && errno == EINVAL);
    int group = open(device.group_path, O_RDWR);
    CHECK(open(device.group_path, O_RDWR) < 0 && errno == EBUSY);
    CHECK(ioctl(group, VFIO_GROUP_GET_STATUS, &status) == 0);
    CHECK_EQUAL(status.flags, VFIO_GROUP_FLAGS_VIABLE);
    CHECK(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device.address) < 0 && errno == EINVAL);
    CHECK(ioctl(group, VFIO_GROUP_UNSET_CONTAINER) < 0 && errno == EINVAL);
    CHECK(ioctl(group, VFIO_GROUP_SET_CONTAINER, &group) < 0 && errno == EINVAL);
    CHECK(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) == 0);
    CHECK(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 && errno == EINVAL);
    CHECK(ioctl(container, VFIO_SET_IOMMU, VFIO_SPAPR_TCE_IOMMU) < 0);
    CHECK(ioctl(container, VFIO_SET_IOMMU, type_of(&device)) == 0);
    CHECK(ioctl(container, VFIO_SET_IOMMU, type_of(&device)) < 0 && errno == EINVAL);
    CHECK(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:ff:1f.7") < 0 && errno == ENODEV);
    int fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, device.address);
    CHECK(fd >= 0);
    CHECK(ioctl(group, VFIO_GROUP_UNSET_CONTAINER) < 0 && errno == EBUSY);
    close(group);
    CHECK(open(device.group_path, O_RDWR) < 0 && errno == EBUSY); // the device keeps it
    close(fd);
    group = open(device.group_path, O_RDWR);
    CHECK(group >= 0);
    close(group);
    close(container);
}

static void test_configuration(void) {
    struct device device = {0};
    struct vfio_device_info info = {.argsz = sizeof(info)};
    struct vfio_region_info region = {.argsz = sizeof(region) - 1};
    struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = VFIO_PCI_NUM_IRQS};

    if (!any(device.address) || !open_device(&device))
        return;
    CHECK(ioctl(device.fd, VFIO_DEVICE_GET_INFO, &info) == 0);
    CHECK(info.flags & VFIO_DEVICE_FLAGS_PCI);
    CHECK_EQUAL(info.num_regions, VFIO_PCI_NUM_REGIONS);
    CHECK_EQUAL(info.num_irqs, VFIO_PCI_NUM_IRQS);
    CHECK(ioctl(device.fd, VFIO_DEVICE_GET_REGION_INFO, &region) < 0 && errno == EINVAL);
    CHECK(ioctl(device.fd, VFIO_DEVICE_GET_IRQ_INFO, &irq) < 0 && errno == EINVAL);
    irq.index = VFIO_PCI_INTX_IRQ_INDEX;
    CHECK(ioctl(device.fd, VFIO_DEVICE_GET_IRQ_INFO, &irq) == 0);
    CHECK_EQUAL(irq.flags,
                VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED);
    CHECK_EQUAL(config_read(&device, PCI_VENDOR_ID, 2), number_in(device.address, "vendor"));
    CHECK(!(config_read(&device, PCI_COMMAND, 2) & PCI_COMMAND_MASTER));
    CHECK(config_read(&device, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY);
    config_write(&device, PCI_VENDOR_ID, 2, 0x1111);
    CHECK_EQUAL(config_read(&device, PCI_VENDOR_ID, 2), number_in(device.address, "vendor"));
    // An address register is measured as on hardware, which notices nothing.
    uint32_t old = config_read(&device, PCI_BASE_ADDRESS_0, 4);
    config_write(&device, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
    CHECK_EQUAL(config_read(&device, PCI_BASE_ADDRESS_0, 4),
                (uint32_t)-device.size[0] | (old & 0xf));
    config_write(&device, PCI_BASE_ADDRESS_0, 4, old);
    CHECK_EQUAL(config_read(&device, PCI_BASE_ADDRESS_0, 4), old);
    uint8_t byte;
    CHECK(pread(device.fd, &byte, 1, (off_t)(device.offset[0] + device.size[0])) < 0 &&
          errno == EINVAL);
    CHECK(pread(device.fd, &byte, 1, (off_t)20 << 40) < 0 && errno == EINVAL);
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, device.fd, (off_t)device.offset[0]) ==
              MAP_FAILED &&
          errno == EINVAL);
    CHECK(mmap(NULL, device.size[0] + PAGE, PROT_READ, MAP_SHARED, device.fd,
               (off_t)device.offset[0]) == MAP_FAILED &&
          errno == EINVAL);
    CHECK(ioctl(device.fd, VFIO_DEVICE_RESET) == 0 || !(info.flags & VFIO_DEVICE_FLAGS_RESET));
    close_device(&device);
}

static void test_bad_irqs(void) {
    struct device device = {0};
    int event = eventfd(0, 0), not_event;

    if (!any(device.address) || !open_device(&device))
        return;
    not_event = device.fd;
    const unsigned trigger = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    const struct {
        unsigned index, flags, start, count;
        int fd, error;
    } bad[] = {
        {VFIO_PCI_INTX_IRQ_INDEX, trigger, 0, 1, not_event, EINVAL},
        {VFIO_PCI_INTX_IRQ_INDEX, trigger, 1, 1, event, EINVAL},
        {VFIO_PCI_INTX_IRQ_INDEX, trigger | VFIO_IRQ_SET_DATA_BOOL, 0, 1, event, EINVAL},
        {VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_DATA_EVENTFD, 0, 1, event, ENOTTY},
        {VFIO_PCI_NUM_IRQS, trigger, 0, 1, event, EINVAL},
        {VFIO_PCI_INTX_IRQ_INDEX, trigger, 0, 2, event, EINVAL},
        {VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, event,
         EINVAL},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        int result = set_irqs(&device, bad[i].index, bad[i].flags, bad[i].start, bad[i].count,
                              &bad[i].fd, sizeof(int));
        CHECK(result < 0 && (errno == bad[i].error || errno == EBADF), "%zu", i);
    }
    close(event);
    close_device(&device);
}

// --- edu

enum {
    EDU_ID = 0x00,
    EDU_CHECK = 0x04,
    EDU_STATUS = 0x24,
    EDU_RAISE = 0x60,
    EDU_LOWER = 0x64,
    EDU_SOURCE = 0x80,
    EDU_TARGET = 0x88,
    EDU_COUNT = 0x90,
    EDU_COMMAND = 0x98,
    EDU_START = 1,
    EDU_TO_RAM = 2,
    EDU_BUFFER = 0x40000,
    EDU_SIZE = 2048, // QEMU ends itself where all 4,096 bytes are asked for
};

static bool open_edu(struct device *device, volatile uint8_t **registers) {
    if (!find_edu(device->address) || !open_device(device))
        return false;
    *registers = map_bar(device, 0);
    return *registers;
}

static void test_edu_registers(void) {
    struct device device = {0};
    volatile uint8_t *registers;
    uint32_t id = 0;

    if (!open_edu(&device, &registers))
        return;
    CHECK_EQUAL(get(registers, EDU_ID), 0x010000ed);
    CHECK(pread(device.fd, &id, sizeof(id), (off_t)device.offset[0]) == sizeof(id));
    CHECK_EQUAL(id, 0x010000ed);
    set(registers, EDU_CHECK, 0x12345678);
    CHECK_EQUAL(get(registers, EDU_CHECK), ~0x12345678u);
    id = 0x55aa;
    CHECK(pwrite(device.fd, &id, sizeof(id), (off_t)(device.offset[0] + EDU_CHECK)) == sizeof(id));
    CHECK_EQUAL(get(registers, EDU_CHECK), ~0x55aau);
    close_device(&device);
}

// A line stays up until the program has served the device; nothing more comes before it says so.
static void test_edu_line(void) {
    struct device device = {0};
    volatile uint8_t *registers;

    if (!open_edu(&device, &registers))
        return;
    int event = irq_event(&device, VFIO_PCI_INTX_IRQ_INDEX), again = eventfd(0, 0);
    CHECK(!comes(event, NO_WAIT));
    set(registers, EDU_RAISE, 1);
    CHECK(comes(event, WAIT));
    CHECK(!comes(event, NO_WAIT));
    CHECK(unmask(&device) == 0); // not served: it is up
    CHECK(comes(event, WAIT));
    set(registers, EDU_LOWER, 1);
    CHECK(unmask(&device) == 0);
    CHECK(!comes(event, NO_WAIT));
    CHECK(set_irqs(&device, VFIO_PCI_INTX_IRQ_INDEX,
                   VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0, 1, &again,
                   sizeof(again)) == 0);
    for (unsigned i = 0; i < 3; i++) {
        set(registers, EDU_RAISE, 1);
        CHECK(comes(event, WAIT), "round %u", i);
        set(registers, EDU_LOWER, 1);
        CHECK(eventfd_write(again, 1) == 0);
    }
    config_write(&device, PCI_COMMAND, 2,
                 config_read(&device, PCI_COMMAND, 2) | PCI_COMMAND_INTX_DISABLE);
    set(registers, EDU_RAISE, 1);
    CHECK(!comes(event, NO_WAIT));
    config_write(&device, PCI_COMMAND, 2,
                 config_read(&device, PCI_COMMAND, 2) & ~(uint32_t)PCI_COMMAND_INTX_DISABLE);
    CHECK(comes(event, WAIT));
    set(registers, EDU_LOWER, 1);
    CHECK(irq_off(&device, VFIO_PCI_INTX_IRQ_INDEX) == 0);
    CHECK(unmask(&device) < 0 && errno == EINVAL);
    close(event);
    close(again);
    close_device(&device);
}

static void test_edu_message(void) {
    struct device device = {0};
    volatile uint8_t *registers;

    if (!open_edu(&device, &registers))
        return;
    allow_dma(&device); // messages are writes, too
    int event = irq_event(&device, VFIO_PCI_MSI_IRQ_INDEX);
    CHECK(set_irqs(&device, VFIO_PCI_INTX_IRQ_INDEX,
                   VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &event,
                   sizeof(event)) < 0 &&
          errno == EINVAL);
    for (unsigned i = 0; i < 3; i++) {
        set(registers, EDU_RAISE, 1);
        CHECK(comes(event, WAIT), "round %u", i);
        set(registers, EDU_LOWER, 1);
    }
    CHECK(set_irqs(&device, VFIO_PCI_MSI_IRQ_INDEX,
                   VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, NULL, 0) == 0);
    CHECK(comes(event, NO_WAIT)); // by our own hand
    CHECK(irq_off(&device, VFIO_PCI_MSI_IRQ_INDEX) == 0);
    set(registers, EDU_RAISE, 1);
    CHECK(!comes(event, NO_WAIT));
    set(registers, EDU_LOWER, 1);
    close(event);
    close_device(&device);
}

static void edu_dma(volatile uint8_t *registers, uint64_t source, uint64_t target,
                    uint32_t command) {
    *(volatile uint64_t *)(registers + EDU_SOURCE) = source;
    *(volatile uint64_t *)(registers + EDU_TARGET) = target;
    *(volatile uint64_t *)(registers + EDU_COUNT) = EDU_SIZE;
    *(volatile uint64_t *)(registers + EDU_COMMAND) = command | EDU_START;
}

static bool edu_done(volatile uint8_t *registers) {
    for (unsigned i = 0; i < 200 && (get(registers, EDU_COMMAND) & EDU_START); i++)
        usleep(10000);
    return !(get(registers, EDU_COMMAND) & EDU_START);
}

static void test_edu_dma(void) {
    struct device device = {0};
    volatile uint8_t *registers;

    if (!open_edu(&device, &registers))
        return;
    struct memory from = dma_memory(&device, DMA_BASE), to = dma_memory(&device, DMA_BASE + PAGE);
    for (unsigned i = 0; i < PAGE; i++)
        from.at[i] = (uint8_t)(i * 7 + 3);
    allow_dma(&device);
    edu_dma(registers, from.address, EDU_BUFFER, 0);
    CHECK(edu_done(registers));
    edu_dma(registers, EDU_BUFFER, to.address, EDU_TO_RAM);
    CHECK(edu_done(registers));
    CHECK(memcmp((void *)to.at, (void *)from.at, EDU_SIZE) == 0);
    // Bus mastering off: nothing moves.
    config_write(&device, PCI_COMMAND, 2,
                 config_read(&device, PCI_COMMAND, 2) & ~(uint32_t)PCI_COMMAND_MASTER);
    memset((void *)to.at, 0, PAGE);
    edu_dma(registers, EDU_BUFFER, to.address, EDU_TO_RAM);
    CHECK(edu_done(registers));
    CHECK_EQUAL(to.at[1], 0);
    close_device(&device);
}

// Starts a transfer to its memory, which takes the device a tenth of a second, and is killed.
static void die_in_transfer(uint64_t *where) {
    struct device device = {0};
    volatile uint8_t *registers;

    if (!open_edu(&device, &registers))
        _exit(1);
    struct memory memory = dma_memory(&device, DMA_BASE);
    *where = device.iommu ? 0 : memory.address;
    memset((void *)memory.at, 0xa5, PAGE);
    allow_dma(&device);
    edu_dma(registers, memory.address, EDU_BUFFER, 0);
    edu_done(registers);
    edu_dma(registers, EDU_BUFFER, memory.address, EDU_TO_RAM);
    kill(getpid(), SIGKILL);
}

static void test_edu_killed(void) {
    char address[16];
    uint64_t *where = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;

    if (!find_edu(address))
        return;
    pid_t child = fork();
    if (child == 0) {
        die_in_transfer(where);
        _exit(1);
    }
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status), "status %#x", status);
    // Its page is somebody's again, ours perhaps: nothing may be written to it.
    const size_t size = 64u << 20;
    uint8_t *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    usleep(300000);
    for (size_t i = 0; i < size; i += PAGE)
        if (!CHECK(memory[i] == 0, "at %#zx", i))
            break;
    munmap(memory, size);
    test_edu_dma(); // it can be had again, and works
}

// A page that is not mapped for the device is out of its reach.
// QEMU 7.2's model of AMD-Vi stops devices, but never writes to its event log.
static bool iommu_reports(void) {
    char address[16];

    return !find(0x1022, 0x0010, address);
}

static void test_edu_outside(void) {
    struct device device = {0};
    volatile uint8_t *registers;

    if (!open_edu(&device, &registers))
        return;
    if (!device.iommu) {
        close_device(&device);
        return;
    }
    struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
    CHECK(ioctl(device.container, VFIO_IOMMU_GET_INFO, &info) == 0);
    CHECK(info.flags & VFIO_IOMMU_INFO_PGSIZES && info.iova_pgsizes & PAGE);
    CHECK(info.argsz > sizeof(info));
    struct memory memory = dma_memory(&device, DMA_BASE);
    CHECK(map_dma(&device, memory.at, DMA_BASE, PAGE) < 0 && errno == EEXIST);
    CHECK(map_dma(&device, memory.at + 1, DMA_BASE + PAGE, PAGE) < 0 && errno == EINVAL);
    CHECK(map_dma(&device, memory.at, DMA_BASE + PAGE, 0) < 0 && errno == EINVAL);
    CHECK(map_dma(&device, NULL, DMA_BASE + PAGE, PAGE) < 0 && errno == EFAULT);
    CHECK(map_dma(&device, memory.at, 0xfee00000, PAGE) < 0 && errno == EINVAL);
    struct vfio_iommu_type1_dma_unmap unmap = {
        .argsz = sizeof(unmap), .iova = DMA_BASE, .size = PAGE};
    memset((void *)memory.at, 0xa5, PAGE);
    allow_dma(&device);
    edu_dma(registers, memory.address, EDU_BUFFER, 0);
    CHECK(edu_done(registers));
    CHECK(ioctl(device.container, VFIO_IOMMU_UNMAP_DMA, &unmap) == 0);
    CHECK_EQUAL(unmap.size, PAGE);
    memset((void *)memory.at, 0, PAGE);
    edu_dma(registers, EDU_BUFFER, memory.address, EDU_TO_RAM);
    CHECK(edu_done(registers));
    CHECK_EQUAL(memory.at[0], 0);
    // A device that was stopped reaches nothing until it is opened anew.
    if (iommu_reports()) {
        CHECK((config_read(&device, PCI_COMMAND, 2) & PCI_COMMAND_MASTER) == 0);
        CHECK(map_dma(&device, memory.at, DMA_BASE, PAGE) == 0);
        allow_dma(&device);
        edu_dma(registers, EDU_BUFFER, memory.address, EDU_TO_RAM);
        CHECK(edu_done(registers));
        CHECK_EQUAL(memory.at[0], 0);
    }
    close_device(&device);
    test_edu_dma(); // opened anew it works again
}

// --- NVMe (NVM Express 1.4): identify by the admin queue, its end told by MSI-X

enum {
    NVME_CC = 0x14,
    NVME_CSTS = 0x1c,
    NVME_AQA = 0x24,
    NVME_ASQ = 0x28,
    NVME_ACQ = 0x30,
    NVME_DOORBELL = 0x1000,
    NVME_ENTRIES = 8,
    NVME_IDENTIFY = 6,
    NVME_ENABLE = 1 | 6 << 16 | 4 << 20,
};

static bool nvme_ready(volatile uint8_t *registers, uint32_t ready) {
    for (unsigned i = 0; i < 500 && (get(registers, NVME_CSTS) & 1) != ready; i++)
        usleep(10000);
    return (get(registers, NVME_CSTS) & 1) == ready;
}

static void identify(struct device *device, volatile uint8_t *registers,
                     volatile uint8_t *doorbells, int event) {
    struct memory submission = dma_memory(device, DMA_BASE);
    struct memory completion = dma_memory(device, DMA_BASE + PAGE);
    struct memory answer = dma_memory(device, DMA_BASE + 2 * PAGE);
    volatile uint32_t *command = (volatile uint32_t *)submission.at;

    set(registers, NVME_CC, 0);
    CHECK(nvme_ready(registers, 0));
    set(registers, NVME_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
    set(registers, NVME_ASQ, (uint32_t)submission.address);
    set(registers, NVME_ASQ + 4, (uint32_t)(submission.address >> 32));
    set(registers, NVME_ACQ, (uint32_t)completion.address);
    set(registers, NVME_ACQ + 4, (uint32_t)(completion.address >> 32));
    set(registers, NVME_CC, NVME_ENABLE);
    CHECK(nvme_ready(registers, 1));
    command[0] = NVME_IDENTIFY;
    command[6] = (uint32_t)answer.address;
    command[7] = (uint32_t)(answer.address >> 32);
    command[10] = 1; // of the controller
    set(doorbells, 0, 1);
    CHECK(comes(event, WAIT));
    CHECK_EQUAL(*(volatile uint16_t *)(completion.at + 14), 1); // phase, no error
    CHECK_EQUAL(*(volatile uint16_t *)answer.at, config_read(device, PCI_VENDOR_ID, 2));
    set(doorbells, 4, 1);
}

// The table of MSI-X is nothing for programs: either nobody can raise interrupts of others with it,
// or its pages cannot be mapped.
static void check_table(const struct device *device) {
    struct {
        struct vfio_region_info info;
        struct vfio_region_info_cap_sparse_mmap sparse;
        struct vfio_region_sparse_mmap_area areas[2];
    } region = {.info = {.argsz = sizeof(region)}};
    uint32_t entry[4] = {1, 1, 1, 0};

    CHECK(ioctl(device->fd, VFIO_DEVICE_GET_REGION_INFO, &region) == 0);
    CHECK(region.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
    CHECK_EQUAL(region.info.cap_offset, sizeof(region.info));
    if (region.sparse.header.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP)
        CHECK(region.sparse.nr_areas >= 1 && region.areas[0].size % PAGE == 0);
    else
        CHECK_EQUAL(region.sparse.header.id, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
    unsigned at = 0x40;
    for (unsigned next = config_read(device, PCI_CAPABILITY_LIST, 1); next;
         next = config_read(device, next + 1, 1))
        at = config_read(device, next, 1) == PCI_CAP_ID_MSIX ? next : at;
    uint32_t table = config_read(device, at + PCI_MSIX_TABLE, 4) & ~7u;
    CHECK(pwrite(device->fd, entry, sizeof(entry), (off_t)(device->offset[0] + table)) ==
          sizeof(entry)); // and changes nothing
}

static void test_nvme(void) {
    struct device device = {0};

    if (!find_nvme(device.address) || !open_device(&device))
        return;
    volatile uint8_t *registers = map_bar(&device, 0);
    volatile uint8_t *doorbells = map_bar(&device, NVME_DOORBELL);
    if (!registers || !doorbells)
        return;
    allow_dma(&device);
    int event = irq_event(&device, VFIO_PCI_MSIX_IRQ_INDEX);
    check_table(&device);
    identify(&device, registers, doorbells, event);
    // After a reset it is as new, but its interrupts are still ours.
    CHECK(ioctl(device.fd, VFIO_DEVICE_RESET) == 0);
    CHECK_EQUAL(get(registers, NVME_CC), 0);
    struct vfio_iommu_type1_dma_unmap all = {.argsz = sizeof(all),
                                             .flags = VFIO_DMA_UNMAP_FLAG_ALL};
    CHECK(!device.iommu || ioctl(device.container, VFIO_IOMMU_UNMAP_DMA, &all) == 0);
    identify(&device, registers, doorbells, event);
    if (device.iommu) { // its queue is not its own any more
        int error = irq_event(&device, VFIO_PCI_ERR_IRQ_INDEX);
        all.size = 0;
        CHECK(ioctl(device.container, VFIO_IOMMU_UNMAP_DMA, &all) == 0);
        set(doorbells, 0, 2);
        CHECK(comes(error, 200) == iommu_reports());
        close(error);
    }
    close(event);
    close_device(&device);
}

// --- a device behind a port: virtio-rng (virtio 1.2, 4.1.4)

static unsigned find_common(const struct device *device, uint32_t *offset) {
    for (unsigned at = config_read(device, PCI_CAPABILITY_LIST, 1); at;
         at = config_read(device, at + 1, 1)) {
        if (config_read(device, at, 1) != PCI_CAP_ID_VNDR || config_read(device, at + 3, 1) != 1)
            continue;
        *offset = config_read(device, at + 8, 4);
        return config_read(device, at + 4, 1);
    }
    return 0;
}

static void test_hot_reset(void) {
    enum { STATUS = 20, ACKNOWLEDGE = 1 };
    struct device device = {0};
    struct {
        struct vfio_pci_hot_reset_info info;
        struct vfio_pci_dependent_device devices[4];
    } info = {.info = {.argsz = sizeof(info.info)}};
    struct {
        struct vfio_pci_hot_reset reset;
        int group;
    } reset = {.reset = {.argsz = sizeof(reset), .count = 1}};
    uint32_t offset = 0;
    uint8_t status = ACKNOWLEDGE;

    if (!find_rng(device.address) || !open_device(&device))
        return;
    unsigned bar = find_common(&device, &offset);
    const off_t at = (off_t)(device.offset[bar] + offset + STATUS);
    CHECK(pwrite(device.fd, &status, 1, at) == 1);
    CHECK(pread(device.fd, &status, 1, at) == 1);
    CHECK_EQUAL(status, ACKNOWLEDGE);
    CHECK(ioctl(device.fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info) < 0 && errno == ENOSPC);
    CHECK_EQUAL(info.info.count, 1);
    info.info.argsz = sizeof(info);
    CHECK(ioctl(device.fd, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &info) == 0);
    CHECK_EQUAL(info.devices[0].bus, strtoul(device.address + 5, NULL, 16));
    reset.group = device.container;
    CHECK(ioctl(device.fd, VFIO_DEVICE_PCI_HOT_RESET, &reset) < 0 && errno == EINVAL);
    reset.group = device.group;
    CHECK(ioctl(device.fd, VFIO_DEVICE_PCI_HOT_RESET, &reset) == 0);
    CHECK(pread(device.fd, &status, 1, at) == 1);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(config_read(&device, PCI_VENDOR_ID, 2), 0x1af4);
    close_device(&device);
}

// --- e1000 (Intel 8254x manual): interrupts that it is told to raise

static void test_e1000(void) {
    enum { ICR = 0xc0, ICS = 0xc8, IMS = 0xd0, IMC = 0xd8, LINK = 1 << 2 };
    struct device device = {0};

    if (!find_e1000(device.address) || !open_device(&device))
        return;
    volatile uint8_t *registers = map_bar(&device, 0);
    if (!registers)
        return;
    int event = irq_event(&device, VFIO_PCI_INTX_IRQ_INDEX);
    set(registers, IMC, UINT32_MAX);
    (void)get(registers, ICR);
    CHECK(unmask(&device) == 0);
    comes(event, NO_WAIT);
    CHECK(unmask(&device) == 0);
    set(registers, IMS, LINK);
    for (unsigned i = 0; i < 3; i++) {
        set(registers, ICS, LINK);
        CHECK(comes(event, WAIT), "round %u", i);
        CHECK(!comes(event, NO_WAIT), "round %u", i);
        CHECK(get(registers, ICR) & LINK);
        CHECK(unmask(&device) == 0);
        CHECK(!comes(event, NO_WAIT), "round %u", i);
    }
    close(event);
    close_device(&device);
}

// A BAR that is mapped shows nothing any more when its device is closed, in no process. On Linux
// the mapping keeps the device.
static void test_revoked(void) {
    struct device device = {0};
    int status;

    if (access("/etc/ashlar.conf", F_OK) != 0 || !any(device.address) || !open_device(&device))
        return;
    volatile uint8_t *registers = map_bar(&device, 0);
    if (!registers)
        return;
    (void)get(registers, 0);
    device.mapped[0] = NULL;
    pid_t child = fork();
    if (child == 0) {
        (void)get(registers, 0);
        close_device(&device);
        for (;;)
            pause();
    }
    usleep(100000);
    close_device(&device);
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    child = fork();
    if (child == 0) {
        (void)get(registers, 0);
        _exit(0);
    }
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS, "status %#x", status);
    munmap((void *)registers, PAGE);
}

static char **named; // on the command line, up to NULL

// The tests of a device that the machine lacks say nothing; who starts them says which it has.
static void test_named(void) {
    static const struct {
        const char *name;
        bool (*find)(char *address);
    } devices[] = {
        {"edu", find_edu}, {"nvme", find_nvme}, {"rng", find_rng}, {"e1000", find_e1000}};
    char address[16];

    for (char **name = named; *name; name++) {
        bool found = false;
        for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
            found |= strcmp(*name, devices[i].name) == 0 && devices[i].find(address);
        CHECK(found, "no %s", *name);
    }
}

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"the devices of this machine", test_named},
        {"containers, groups and devices", test_groups},
        {"configuration space and regions", test_configuration},
        {"interrupts asked for wrongly", test_bad_irqs},
        {"edu: registers by mmap, read and write", test_edu_registers},
        {"edu: its line", test_edu_line},
        {"edu: MSI", test_edu_message},
        {"edu: DMA", test_edu_dma},
        {"edu: its program is killed during a transfer", test_edu_killed},
        {"edu: outside of what is mapped", test_edu_outside},
        {"NVMe: identify by DMA and MSI-X, reset", test_nvme},
        {"virtio-rng behind a port: hot reset", test_hot_reset},
        {"e1000: its line", test_e1000},
        {"mappings of a device that is closed", test_revoked},
    };
    named = argv + (argc > 0);
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), NULL);
}
