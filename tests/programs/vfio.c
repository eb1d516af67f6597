// SPDX-License-Identifier: BSD-2-Clause
// VFIO at devices of the machine: QEMU's edu, an NVMe controller, virtio-rng, Intel's e1000. Runs
// on Linux too, where vfio-pci has the devices.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vfio/device.h"

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
        bool reported = comes(error, iommu_reports() ? WAIT : NO_WAIT);
        CHECK_EQUAL(reported, iommu_reports());
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
        {"edu: up on a line of another's", test_edu_silent},
        {"edu: MSI", test_edu_message},
        {"edu: DMA", test_edu_dma},
        {"edu: DMA and a hole in memory", test_edu_hole},
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
