// SPDX-License-Identifier: BSD-2-Clause
// A device's regions: configuration space and BARs, by read and write, BARs of memory by mmap too.
#include <asm/errno.h>
#include <linux/mman.h>
#include <linux/pci_regs.h>
#include "arch/x86/cpu/device_access.h"
#include "core/file/io_buffer.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"
#include "core/vfio/device.h"

enum { INDEX_SHIFT = 40 }; // of a region in offsets, as vfio-pci

static uint64_t page_up(uint64_t size) {
    return (size + PAGE_SIZE - 1) & PAGE_MASK;
}

static bool is_ports(const struct vfio_device *device, unsigned bar) {
    return device->pci->bar[bar].kind & PCI_BASE_ADDRESS_SPACE_IO;
}

uint64_t vfio_region_size(const struct vfio_device *device, unsigned index) {
    if (index == VFIO_PCI_CONFIG_REGION_INDEX)
        return device->pci->reach;
    return index < PCI_BARS ? device->pci->bar[index].size : 0;
}

// Bytes of the BAR that hold the MSI-X table; false: none.
static bool table_bytes(const struct vfio_device *device, unsigned bar, uint64_t *start,
                        uint64_t *end) {
    const struct pci_device *pci = device->pci;
    uint32_t table = pci->msix ? pci_read(pci->function, pci->msix + PCI_MSIX_TABLE, 4) : 0;
    if (!pci->msix || (table & PCI_MSIX_TABLE_BIR) != bar)
        return false;
    *start = table & PCI_MSIX_TABLE_OFFSET;
    *end = *start + (uint64_t)vfio_irq_count(device, VFIO_PCI_MSIX_IRQ_INDEX) * PCI_MSIX_ENTRY_SIZE;
    return true;
}

bool vfio_region_has_table(const struct vfio_device *device, unsigned bar) {
    uint64_t start, end;
    return table_bytes(device, bar, &start, &end);
}

bool vfio_region_hole(const struct vfio_device *device, unsigned bar, uint64_t *start,
                      uint64_t *end) {
    if (iommu_remaps_interrupts() || !table_bytes(device, bar, start, end))
        return false;
    *start &= PAGE_MASK;
    *end = page_up(*end);
    return true;
}

// Whether another BAR of the machine is in this one's last page.
static bool shares_page(const struct pci_bar *bar) {
    uint64_t start = bar->base & PAGE_MASK, end = page_up(bar->base + bar->size);
    list_for_each(node, &pci_devices) {
        const struct pci_device *pci = container_of(node, struct pci_device, node);
        for (unsigned i = 0; i < PCI_BARS; i++) {
            const struct pci_bar *other = &pci->bar[i];
            if (other != bar && !(other->kind & PCI_BASE_ADDRESS_SPACE_IO) && other->size &&
                other->base < end && other->base + other->size > start)
                return true;
        }
    }
    return false;
}

// Pages are the least that can be mapped, and nothing else may be in them.
bool vfio_region_can_map(const struct vfio_device *device, unsigned index) {
    if (index >= PCI_BARS || !device->pci->bar[index].size || is_ports(device, index))
        return false;
    const struct pci_bar *bar = &device->pci->bar[index];
    return bar->size >= PAGE_SIZE || (!(bar->base & (PAGE_SIZE - 1)) && !shares_page(bar));
}

// --- read and write

struct region_access {
    struct vfio_device *device;
    unsigned index;
    uint64_t at;
    unsigned size; // 1, 2 or 4
};

// Whether it touches the MSI-X table, which is the kernel's.
static bool in_table(const struct region_access *access) {
    uint64_t start, end;
    return table_bytes(access->device, access->index, &start, &end) && access->at < end &&
           access->at + access->size > start;
}

static uint32_t access_read(const struct region_access *access) {
    const struct vfio_device *device = access->device;
    if (access->index == VFIO_PCI_CONFIG_REGION_INDEX)
        return config_space_read(&device->config, (unsigned)access->at, access->size);
    if (is_ports(device, access->index))
        return port_in((uint16_t)(device->pci->bar[access->index].base + access->at), access->size);
    volatile uint8_t *at = pci_bar_map(device->pci, access->index);
    return at && !in_table(access) ? mmio_read(at + access->at, access->size) : UINT32_MAX;
}

static void config_write(struct vfio_device *device, unsigned at, unsigned size, uint32_t value) {
    vfio_lock(&device->changing);
    unsigned wanted = config_space_write(&device->config, at, size, value);
    vfio_line_update(device);
    if (wanted & CONFIG_WANTS_RESET && !pci_reset(device->pci))
        vfio_irq_restore(device);
    vfio_unlock(&device->changing);
}

static void access_write(const struct region_access *access, uint32_t value) {
    struct vfio_device *device = access->device;
    if (access->index == VFIO_PCI_CONFIG_REGION_INDEX) {
        config_write(device, (unsigned)access->at, access->size, value);
        return;
    }
    if (is_ports(device, access->index)) {
        port_out((uint16_t)(device->pci->bar[access->index].base + access->at), access->size,
                 value);
        return;
    }
    volatile uint8_t *at = pci_bar_map(device->pci, access->index);
    if (at && !in_table(access))
        mmio_write(at + access->at, access->size, value);
}

// One access in the largest pieces that alignment allows. 0 or -EFAULT.
static int transfer_one(struct region_access *access, struct io_buffer *buffer, size_t left,
                        bool write) {
    uint32_t value = 0;
    access->size = !(access->at & 3) && left >= 4 ? 4 : !(access->at & 1) && left >= 2 ? 2 : 1;
    if (!write) {
        value = access_read(access);
        return io_copy_to(buffer, &value, access->size);
    }
    int error = io_copy_from(buffer, &value, access->size);
    if (!error)
        access_write(access, value);
    return error;
}

static int64_t transfer(struct file *file, struct io_buffer *buffer, uint64_t from, bool write) {
    struct region_access access = {.device = file->object,
                                   .index = (unsigned)(from >> INDEX_SHIFT),
                                   .at = from & ((1ull << INDEX_SHIFT) - 1)};
    uint64_t size = from >> INDEX_SHIFT < VFIO_PCI_NUM_REGIONS
                        ? vfio_region_size(access.device, access.index)
                        : 0;
    if (access.at >= size)
        return -EINVAL;
    size_t before = io_remaining(buffer), left = before;
    left = left < size - access.at ? left : size - access.at;
    int error = 0;
    for (unsigned i = 1; !error && left; i++) {
        error = transfer_one(&access, buffer, left, write);
        left -= error ? 0 : access.size;
        access.at += error ? 0 : access.size;
        if (i % 256 == 0)
            thread_preemption_point();
    }
    return io_result(buffer, before, error);
}

int64_t vfio_region_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    return transfer(file, buffer, *offset, false);
}

int64_t vfio_region_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    return transfer(file, buffer, *offset, true);
}

// --- mmap

// Pages of a BAR. Mappings do not keep the device: when it is closed they show nothing any more.
struct bar_memory {
    struct memory_object object;
    uint64_t base, size;
    uint64_t hole_start, hole_end;
    atomic_bool revoked;
};

static int bar_page(struct memory_object *object, uint64_t index, uint64_t *physical,
                    unsigned *order) {
    const struct bar_memory *memory = container_of(object, struct bar_memory, object);
    uint64_t at = index << PAGE_SHIFT;
    if (at >= memory->size || (at >= memory->hole_start && at < memory->hole_end) ||
        atomic_load(&memory->revoked))
        return -EFAULT;
    *physical = memory->base + at;
    *order = 0;
    return 0;
}

static void bar_destroy(struct memory_object *object) {
    heap_free(container_of(object, struct bar_memory, object));
}

static const struct memory_object_ops bar_ops = {.page = bar_page, .destroy = bar_destroy};

static struct memory_object *bar_object(struct vfio_device *device, unsigned bar) {
    if (device->bars[bar])
        return device->bars[bar];
    struct bar_memory *memory = heap_new(struct bar_memory);
    if (!memory)
        return NULL;
    memory->object.ops = &bar_ops;
    memory->object.device = true;
    atomic_store(&memory->object.references, 1);
    memory->base = device->pci->bar[bar].base;
    memory->size = device->pci->bar[bar].size;
    vfio_region_hole(device, bar, &memory->hole_start, &memory->hole_end);
    return device->bars[bar] = &memory->object;
}

int vfio_region_map(struct file *file, uint64_t offset, uint64_t size, int prot, int flags,
                    struct memory_object **object, uint64_t *object_offset) {
    struct vfio_device *device = file->object;
    unsigned index = (unsigned)(offset >> INDEX_SHIFT);
    uint64_t at = offset & ((1ull << INDEX_SHIFT) - 1);
    if ((flags & MAP_TYPE) == MAP_PRIVATE || offset >> INDEX_SHIFT >= VFIO_PCI_NUM_REGIONS ||
        !vfio_region_can_map(device, index))
        return -EINVAL;
    uint64_t limit = page_up(vfio_region_size(device, index));
    if (at >= limit || size > limit - at)
        return -EINVAL;
    vfio_lock(&device->changing);
    *object = bar_object(device, index);
    if (*object)
        memory_object_get(*object);
    vfio_unlock(&device->changing);
    *object_offset = at;
    return *object ? 0 : -ENOMEM;
}

void vfio_region_revoke(struct vfio_device *device) {
    for (unsigned i = 0; i < PCI_BARS; i++) {
        if (!device->bars[i])
            continue;
        atomic_store(&container_of(device->bars[i], struct bar_memory, object)->revoked, true);
        address_spaces_forget(device->bars[i], 0, UINT64_MAX);
        memory_object_put(device->bars[i]);
    }
}
