// SPDX-License-Identifier: BSD-2-Clause
// QEMU's edu (hw/misc/edu.c in its documentation, docs/specs/edu).
#define _GNU_SOURCE
#include <linux/pci_regs.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device.h"

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

void test_edu_registers(void) {
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
void test_edu_line(void) {
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

// Nobody listens to it, but to another device of the line: that one's interrupts would not end.
void test_edu_silent(void) {
    struct device device = {0}, other = {0};
    volatile uint8_t *registers;

    if (!find_nvme(other.address) || !open_edu(&device, &registers) || !open_device(&other))
        return;
    CHECK_EQUAL(config_read(&device, PCI_INTERRUPT_LINE, 1),
                config_read(&other, PCI_INTERRUPT_LINE, 1));
    set(registers, EDU_RAISE, 1);
    int event = irq_event(&other, VFIO_PCI_INTX_IRQ_INDEX);
    CHECK(!comes(event, NO_WAIT));
    set(registers, EDU_LOWER, 1);
    CHECK(irq_off(&other, VFIO_PCI_INTX_IRQ_INDEX) == 0);
    close(event);
    close_device(&other);
    close_device(&device);
}

void test_edu_message(void) {
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

void test_edu_dma(void) {
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

// What a balloon does to memory that a device knows by its pages: it reads as zeroes, and what the
// device then writes is seen.
void test_edu_hole(void) {
    const size_t size = 2u << 20;
    struct device device = {0};
    volatile uint8_t *registers;

    if (!open_edu(&device, &registers))
        return;
    int fd = memfd_create("guest", MFD_CLOEXEC);
    CHECK(ftruncate(fd, (off_t)size) == 0);
    volatile uint8_t *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    at[EDU_SIZE - 1] = 42;
    if (device.iommu && CHECK(map_dma(&device, at, DMA_BASE, size) == 0)) {
        allow_dma(&device);
        edu_dma(registers, DMA_BASE, EDU_BUFFER, 0);
        CHECK(edu_done(registers));
        CHECK(madvise((void *)at, size, MADV_REMOVE) == 0);
        CHECK_EQUAL(at[EDU_SIZE - 1], 0);
        edu_dma(registers, EDU_BUFFER, DMA_BASE, EDU_TO_RAM);
        CHECK(edu_done(registers));
        CHECK_EQUAL(at[EDU_SIZE - 1], 42);
    }
    close_device(&device);
    munmap((void *)at, size);
    close(fd);
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

void test_edu_killed(void) {
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
void test_edu_outside(void) {
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
