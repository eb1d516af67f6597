// SPDX-License-Identifier: BSD-2-Clause
// Finding devices (PCI 3.0, 6.1-6.7; PCI Express 5.0, 7.5-7.9) and what of them cannot be told
// apart.
#include "arch/x86/pci/pci.h"
#include <linux/pci_regs.h>
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/paging.h"
#include "core/log.h"
#include "core/mm/heap.h"

enum {
    PCI_BASE_BRIDGE = 6,
    CLASS_IDE = 0x0101,
    CLASS_IOMMU = 0x0806
}; // class codes, PCI 3.0 appendix D
enum { INTEL_440FX = 0x12378086 };
enum { BAR_MAPPED_MAX = 64 << 20 }; // larger ones are for programs to map

struct list pci_devices = LIST_INIT(pci_devices);

void pci_name(const struct pci_device *device, char name[static PCI_NAME_SIZE]) {
    format_string(name, PCI_NAME_SIZE, "0000:%02x:%02x.%u", device->function >> 8,
                  device->function >> 3 & 31, device->function & 7);
}

static uint32_t read_32(const struct pci_device *device, unsigned offset) {
    return pci_read(device->function, offset, 4);
}

static void read_capabilities(struct pci_device *device) {
    if (!(pci_read(device->function, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
        return;
    unsigned at = pci_read(device->function, PCI_CAPABILITY_LIST, 1) & ~3u;
    for (unsigned left = (256 - 64) / 4; at >= 64 && left; left--) {
        uint8_t *place = NULL;
        switch (pci_read(device->function, at, 1)) {
        case PCI_CAP_ID_PM:
            place = &device->power;
            break;
        case PCI_CAP_ID_MSI:
            place = &device->msi;
            break;
        case PCI_CAP_ID_MSIX:
            place = &device->msix;
            break;
        case PCI_CAP_ID_EXP:
            place = &device->express;
            break;
        case PCI_CAP_ID_AF:
            place = &device->advanced;
            break;
        }
        if (place && !*place)
            *place = (uint8_t)at;
        at = pci_read(device->function, at + 1, 1) & ~3u;
    }
}

unsigned pci_find_extended(const struct pci_device *device, unsigned id) {
    if (!device->express || device->reach <= PCI_CFG_SPACE_SIZE)
        return 0;
    unsigned at = PCI_CFG_SPACE_SIZE;
    for (unsigned left = (4096 - 256) / 8; at >= PCI_CFG_SPACE_SIZE && left; left--) {
        uint32_t header = read_32(device, at);
        if (header == UINT32_MAX || PCI_EXT_CAP_ID(header) == id)
            return header == UINT32_MAX ? 0 : at;
        at = PCI_EXT_CAP_NEXT(header);
    }
    return 0;
}

// The bits of a register that stay 0 say how large it is.
static uint32_t probe(const struct pci_device *device, unsigned offset, uint32_t old) {
    pci_write(device->function, offset, 4, UINT32_MAX);
    uint32_t mask = read_32(device, offset);
    pci_write(device->function, offset, 4, old);
    return mask;
}

// Returns the number of registers it takes.
static unsigned read_bar(const struct pci_device *device, unsigned number, struct pci_bar *bar) {
    unsigned offset = PCI_BASE_ADDRESS_0 + 4 * number;
    uint32_t old = read_32(device, offset), mask = probe(device, offset, old);
    *bar = (struct pci_bar){0};
    if (!mask || mask == UINT32_MAX)
        return 1;
    if (mask & PCI_BASE_ADDRESS_SPACE_IO) { // the upper half may be missing
        uint32_t bits = mask & 0xffff & (uint32_t)PCI_BASE_ADDRESS_IO_MASK;
        *bar = (struct pci_bar){old & (uint32_t)PCI_BASE_ADDRESS_IO_MASK, bits & -bits,
                                PCI_BASE_ADDRESS_SPACE_IO};
        bar->size = bar->base ? bar->size : 0;
        return 1;
    }
    uint64_t base = old & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
    uint64_t bits = mask & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
    bool wide =
        (mask & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64 && number < 5;
    if (wide) {
        uint32_t high = read_32(device, offset + 4);
        base |= (uint64_t)high << 32;
        bits |= (uint64_t)probe(device, offset + 4, high) << 32;
    }
    *bar = (struct pci_bar){base, base ? bits & -bits : 0, mask & 0xf};
    return wide ? 2 : 1;
}

// Firmware's resources are in use while they are measured: nothing decodes them meanwhile.
static void read_bars(struct pci_device *device) {
    uint16_t command = (uint16_t)pci_read(device->function, PCI_COMMAND, 2);
    pci_write(device->function, PCI_COMMAND, 2,
              command & ~(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER));
    for (unsigned i = 0; i < PCI_BARS;)
        i += read_bar(device, i, &device->bar[i]);
    pci_write(device->function, PCI_COMMAND, 2, command);
}

// Channels of IDE in compatibility mode have no registers to say where they are (PCI IDE Controller
// Specification 1.0, 2.1).
static void add_legacy_ide(struct pci_device *device) {
    static const uint16_t command[] = {0x1f0, 0x170}, control[] = {0x3f6, 0x376};
    for (unsigned channel = 0; channel < 2; channel++) {
        if (device->class >> 8 & 1u << (2 * channel))
            continue;
        device->bar[2 * channel] = (struct pci_bar){command[channel], 8, PCI_BASE_ADDRESS_SPACE_IO};
        device->bar[2 * channel + 1] =
            (struct pci_bar){control[channel], 1, PCI_BASE_ADDRESS_SPACE_IO};
    }
}

static struct pci_device *bridge_to(unsigned bus) {
    list_for_each(node, &pci_devices) {
        struct pci_device *device = container_of(node, struct pci_device, node);
        if (device->bridge && device->bus_below == bus)
            return device;
    }
    return NULL;
}

static unsigned express_type(const struct pci_device *device) {
    return (pci_read(device->function, device->express + PCI_EXP_FLAGS, 2) & PCI_EXP_FLAGS_TYPE) >>
           4;
}

// The device whose requester ID a transaction carries when it has come up: bridges from PCI take
// it over (PCI Express to PCI Bridge 1.0, 2.3), under number 0 of the bus below if they are PCI
// Express themselves.
static void find_requester(struct pci_device *device) {
    device->alias = device;
    device->dma.id = device->function;
    for (struct pci_device *bridge = device->above; bridge; bridge = bridge->above) {
        if (!bridge->express)
            device->dma.id = bridge->function;
        else if (express_type(bridge) == PCI_EXP_TYPE_PCI_BRIDGE)
            device->dma.id = (uint16_t)(bridge->bus_below << 8);
        else
            continue;
    }
    list_for_each(node, &pci_devices) {
        struct pci_device *other = container_of(node, struct pci_device, node);
        if (other->dma.id == device->dma.id && !other->bridge) {
            device->alias = other;
            return;
        }
    }
}

static void read_device(pci_function function, bool multiple) {
    struct pci_device *device = heap_new(struct pci_device);
    if (!device) {
        log_line("warning: no memory for PCI device %x", function);
        return;
    }
    device->function = function;
    device->multiple = multiple;
    device->reach = (uint16_t)pci_config_reach(function);
    device->vendor = (uint16_t)pci_read(function, PCI_VENDOR_ID, 2);
    device->device = (uint16_t)pci_read(function, PCI_DEVICE_ID, 2);
    device->class = read_32(device, PCI_CLASS_REVISION);
    unsigned type = pci_read(function, PCI_HEADER_TYPE, 1) & 0x7f;
    device->bridge = type == PCI_HEADER_TYPE_BRIDGE;
    // Bridges of all kinds are part of the machine, and so are IOMMUs.
    device->kernel_uses = type != PCI_HEADER_TYPE_NORMAL ||
                          device->class >> 24 == PCI_BASE_BRIDGE ||
                          device->class >> 16 == CLASS_IOMMU;
    read_capabilities(device);
    if (device->bridge)
        device->bus_below = (uint8_t)pci_read(function, PCI_SECONDARY_BUS, 1);
    else if (!device->kernel_uses)
        read_bars(device);
    if (device->class >> 16 == CLASS_IDE)
        add_legacy_ide(device);
    // Without the capability of PCI Express there is nothing beyond the first 256 bytes.
    if (!device->express)
        device->reach = PCI_CFG_SPACE_SIZE;
    device->above = bridge_to(function >> 8);
    find_requester(device);
    list_push_back(&pci_devices, &device->node);
}

static bool exists(pci_function function) {
    uint32_t vendor = pci_read(function, PCI_VENDOR_ID, 2);
    return vendor != 0xffff && vendor != 0;
}

static void read_slot(pci_function first) {
    if (!exists(first))
        return;
    bool multiple = pci_read(first, PCI_HEADER_TYPE, 1) & 0x80;
    for (unsigned i = 0; i < (multiple ? 8 : 1); i++)
        if (!i || exists((pci_function)(first + i)))
            read_device((pci_function)(first + i), multiple);
}

static bool shows(const struct pci_device *device, uint64_t address) {
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (!(device->bar[i].kind & PCI_BASE_ADDRESS_SPACE_IO) &&
            address - device->bar[i].base < device->bar[i].size)
            return true;
    return false;
}

static void log_device(const struct pci_device *device) {
    char name[PCI_NAME_SIZE];
    pci_name(device, name);
    log_line("PCI %s: %04x:%04x, class %06x%s%s%s", name + 5, device->vendor, device->device,
             device->class >> 8, device->msi ? ", MSI" : "", device->msix ? ", MSI-X" : "",
             device->bridge ? ", bridge" : "");
}

void pci_init(uint64_t framebuffer, bool quiet) {
    // All buses: what is behind a second root bridge is named in AML only.
    for (unsigned slot = 0; slot < 256 * 32; slot++)
        read_slot((pci_function)(slot << 3));
    list_for_each(node, &pci_devices) {
        struct pci_device *device = container_of(node, struct pci_device, node);
        if (framebuffer && shows(device, framebuffer))
            device->kernel_uses = true;
        if (!quiet)
            log_device(device);
    }
}

bool pci_is_emulated(void) {
    return cpu_features.hypervisor || pci_read(0, PCI_VENDOR_ID, 4) == INTEL_440FX;
}

enum {
    ACS_WANTED = PCI_ACS_SV | PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_UF,
};

// Whether transactions between functions below or beside go through the IOMMU (PCI Express 5.0,
// 6.12): access control services are there and on, or nothing is beside it.
static bool isolates(const struct pci_device *device) {
    if (!device->express)
        return false;
    switch (express_type(device)) {
    case PCI_EXP_TYPE_PCI_BRIDGE:
    case PCI_EXP_TYPE_PCIE_BRIDGE:
        return false;
    case PCI_EXP_TYPE_ROOT_PORT:
    case PCI_EXP_TYPE_DOWNSTREAM:
        break;
    default:
        if (!device->multiple)
            return true;
    }
    unsigned acs = pci_find_extended(device, PCI_EXT_CAP_ID_ACS);
    if (!acs)
        return false;
    uint16_t wanted = (uint16_t)(pci_read(device->function, acs + PCI_ACS_CAP, 2) & ACS_WANTED);
    uint16_t on = (uint16_t)pci_read(device->function, acs + PCI_ACS_CTRL, 2);
    pci_write(device->function, acs + PCI_ACS_CTRL, 2, on | wanted);
    return true;
}

// The device that stands for the group: the highest bridge that does not isolate, or itself; then
// the first function beside it that does not either.
static const struct pci_device *representative(const struct pci_device *device) {
    const struct pci_device *top = device;
    for (const struct pci_device *bridge = device->above; bridge; bridge = bridge->above)
        if (!isolates(bridge))
            top = bridge;
    if (!top->multiple || isolates(top))
        return top;
    list_for_each(node, &pci_devices) {
        const struct pci_device *beside = container_of(node, struct pci_device, node);
        if (beside->function >> 3 == top->function >> 3 && !isolates(beside))
            return beside;
    }
    return top;
}

unsigned pci_group(bool isolated) {
    unsigned next = 0;
    list_for_each(node, &pci_devices) {
        struct pci_device *device = container_of(node, struct pci_device, node);
        const struct pci_device *first = isolated ? representative(device) : device;
        // Devices before it have their groups, one of the same kind has that of both.
        device->group = next;
        for (struct list *before = pci_devices.next; before != node; before = before->next) {
            struct pci_device *other = container_of(before, struct pci_device, node);
            if (isolated && representative(other) == first)
                device->group = other->group;
        }
        next += device->group == next;
    }
    return next;
}

volatile uint8_t *pci_bar_map(struct pci_device *device, unsigned bar) {
    if (!device->memory[bar] && device->bar[bar].size && device->bar[bar].size <= BAR_MAPPED_MAX &&
        !(device->bar[bar].kind & PCI_BASE_ADDRESS_SPACE_IO))
        device->memory[bar] = kernel_map_mmio(device->bar[bar].base, device->bar[bar].size);
    return device->memory[bar];
}

static void clear_bits(const struct pci_device *device, unsigned offset, uint16_t bits) {
    uint32_t value = pci_read(device->function, offset, 2);
    pci_write(device->function, offset, 2, value & ~(uint32_t)bits);
}

void pci_quiesce(const struct pci_device *device) {
    clear_bits(device, PCI_COMMAND, PCI_COMMAND_MASTER);
    if (device->msi)
        clear_bits(device, device->msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
    if (device->msix)
        clear_bits(device, device->msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE);
}
