// SPDX-License-Identifier: BSD-2-Clause
// /sys/bus/pci/devices, /sys/kernel/iommu_groups and /dev/vfio, as Linux shows them.
#include "core/vfio/vfio.h"
#include <linux/errno.h>
#include <linux/pci_regs.h>
#include "arch/x86/pci/pci.h"
#include "core/file/node.h"
#include "core/file/text_file.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/string.h"
#include "core/vfio/container.h"

#define DEVICES "/sys/bus/pci/devices/"
#define GROUPS  "/sys/kernel/iommu_groups/"

static int show_register(void *object, struct text *text, unsigned offset, unsigned bytes) {
    const struct pci_device *pci = object;
    text_add(text, "0x%0*x\n", (int)(2 * bytes), pci_read(pci->function, offset, bytes));
    return 0;
}

#define SHOW_REGISTER(name, offset, bytes)                                                         \
    static int show_##name(void *object, struct text *text) {                                      \
        return show_register(object, text, offset, bytes);                                         \
    }
SHOW_REGISTER(vendor, PCI_VENDOR_ID, 2)
SHOW_REGISTER(device, PCI_DEVICE_ID, 2)
SHOW_REGISTER(revision, PCI_REVISION_ID, 1)
SHOW_REGISTER(subsystem_vendor, PCI_SUBSYSTEM_VENDOR_ID, 2)
SHOW_REGISTER(subsystem_device, PCI_SUBSYSTEM_ID, 2)

static int show_class(void *object, struct text *text) {
    text_add(text, "0x%06x\n", ((const struct pci_device *)object)->class >> 8);
    return 0;
}

static int show_irq(void *object, struct text *text) {
    const struct pci_device *pci = object;
    text_add(text, "%u\n", pci_read(pci->function, PCI_INTERRUPT_LINE, 1));
    return 0;
}

static int show_none(void *object, struct text *text) {
    text_add(text, "-1\n");
    return 0;
}

static int show_driver(void *object, struct text *text) {
    text_add(text, "(null)\n");
    return 0;
}

static int show_config(void *object, struct text *text) {
    const struct pci_device *pci = object;
    for (unsigned at = 0; at < pci->reach && at + 4 <= text->size; at += 4) {
        uint32_t value = pci_read(pci->function, at, 4);
        memcpy(text->to + at, &value, sizeof value);
    }
    text->length = pci->reach;
    return 0;
}

// The flags of Linux's <linux/ioport.h>.
static uint64_t resource_flags(const struct pci_bar *bar) {
    enum { IO = 0x100, MEMORY = 0x200, PREFETCH = 0x2000, SIZE_ALIGN = 0x40000, WIDE = 0x100000 };
    if (bar->kind & PCI_BASE_ADDRESS_SPACE_IO)
        return SIZE_ALIGN | IO | bar->kind;
    return SIZE_ALIGN | MEMORY | (bar->kind & PCI_BASE_ADDRESS_MEM_PREFETCH ? PREFETCH : 0) |
           (bar->kind & PCI_BASE_ADDRESS_MEM_TYPE_64 ? WIDE : 0) | bar->kind;
}

static int show_resource(void *object, struct text *text) {
    const struct pci_device *pci = object;
    for (unsigned i = 0; i < PCI_BARS + 1; i++) { // the ROM's is the last
        const struct pci_bar *bar = i < PCI_BARS && pci->bar[i].size ? &pci->bar[i] : NULL;
        text_add(text, "0x%016lx 0x%016lx 0x%016lx\n", bar ? bar->base : 0,
                 bar ? bar->base + bar->size - 1 : 0, bar ? resource_flags(bar) : 0);
    }
    return 0;
}

static const struct text_file device_files[] = {
    {.name = "vendor", .show = show_vendor},
    {.name = "device", .show = show_device},
    {.name = "class", .show = show_class},
    {.name = "revision", .show = show_revision},
    {.name = "subsystem_vendor", .show = show_subsystem_vendor},
    {.name = "subsystem_device", .show = show_subsystem_device},
    {.name = "irq", .show = show_irq},
    {.name = "numa_node", .show = show_none},
    {.name = "driver_override", .show = show_driver},
    {.name = "resource", .show = show_resource},
    {.name = "config", .show = show_config},
};

static int add_symlink(struct node *directory, const char *name, const char *target) {
    struct node *node = node_create(S_IFLNK | 0777);
    char *text = node ? heap_alloc(strlen(target) + 1) : NULL;
    if (!text) {
        if (node)
            node_put(node);
        return -ENOMEM;
    }
    memcpy(text, target, strlen(target) + 1);
    node->object = text;
    node->symlink.text = text;
    node->symlink.length = strlen(target);
    int error = directory_add(directory, name, strlen(name), node);
    node_put(node);
    return error;
}

// The group's node, if it has a device for programs.
static void add_group(unsigned number) {
    char path[32];
    list_for_each(node, &pci_devices) {
        const struct pci_device *pci = container_of(node, struct pci_device, node);
        struct vfio_group *group = NULL;
        if (pci->group != number || pci->kernel_uses || !(group = heap_new(struct vfio_group)))
            continue;
        group->number = number;
        format_string(path, sizeof path, iommu_present() ? "/dev/vfio/%u" : "/dev/vfio/noiommu-%u",
                      number);
        device_register(path, 0, vfio_group_open, group);
        return;
    }
}

static int add_to_group(const struct pci_device *pci, struct node *directory) {
    char path[96], name[PCI_NAME_SIZE];
    struct node *members;
    pci_name(pci, name);
    format_string(path, sizeof path, GROUPS "%u/devices", pci->group);
    int error = root_directory(path, &members);
    format_string(path, sizeof path, "../../../../bus/pci/devices/%s", name);
    if (!error)
        error = add_symlink(members, name, path);
    format_string(path, sizeof path, "../../../../kernel/iommu_groups/%u", pci->group);
    return error ? error : add_symlink(directory, "iommu_group", path);
}

static int add_device(struct pci_device *pci, bool groups) {
    char path[sizeof DEVICES + PCI_NAME_SIZE] = DEVICES;
    struct node *directory;
    pci_name(pci, path + sizeof DEVICES - 1);
    int error = root_directory(path, &directory);
    for (size_t i = 0; !error && i < sizeof device_files / sizeof *device_files; i++)
        error = text_file_add(directory, &device_files[i], pci);
    return error || !groups ? error : add_to_group(pci, directory);
}

void vfio_register(bool trusted) {
    int error = 0;
    bool groups = iommu_present() || trusted;
    vfio_trusted = trusted;
    unsigned count = pci_group(iommu_present());
    for (unsigned number = 0; groups && number < count; number++)
        add_group(number);
    if (groups)
        device_register("/dev/vfio/vfio", 0, vfio_container_open, NULL);
    list_for_each(node, &pci_devices) {
        if (!error)
            error = add_device(container_of(node, struct pci_device, node), groups);
    }
    if (error)
        log_line("PCI: not all devices are shown to programs (error %d)", -error);
    if (!iommu_present() && !list_empty(&pci_devices))
        log_line(trusted ? "DMA: there is no IOMMU, so a program that is given a device can reach "
                           "all memory (dma = trusted)"
                         : "DMA: there is no IOMMU, so no device is given to programs; dma = "
                           "trusted in ashlar.conf allows it");
}
