// SPDX-License-Identifier: BSD-2-Clause
// The devices on the PCI buses, as firmware has set them up. Nothing is assigned here.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "arch/x86/iommu/iommu.h"
#include "core/list.h"

struct acpi_machine;

// -- configuration space of segment 0 (pci_config.c) --

// A function of a device: bus << 8 | device << 3 | function, its requester ID too.
typedef uint16_t pci_function;

// Finds ECAM where the MCFG tells it; else, and before, the ports CF8 and CFC serve. Boot CPU.
void pci_config_init(const struct acpi_machine *machine);
// Bytes of configuration space that can be reached: 256 or 4096.
unsigned pci_config_reach(pci_function function);
// size: 1, 2 or 4; offset: a multiple of it. All ones where nothing answers. Any context.
uint32_t pci_read(pci_function function, unsigned offset, unsigned size);
void pci_write(pci_function function, unsigned offset, unsigned size, uint32_t value);

// -- the devices --

enum { PCI_BARS = 6 };

struct pci_bar {
    uint64_t base, size; // physical or port; size 0: none, or firmware gave it no address
    uint8_t kind;        // the register's low bits, PCI_BASE_ADDRESS_*
};

struct pci_device {
    struct list node; // in pci_devices, by rising function
    pci_function function;
    uint16_t vendor, device;
    uint32_t class;   // base class, subclass, interface, revision: the register at 8
    uint16_t reach;   // bytes of configuration space
    bool bridge;      // to another PCI bus
    bool multiple;    // one of several functions
    bool kernel_uses; // not given out
    bool attached;    // to a domain
    uint8_t power, msi, msix, express, advanced; // offsets of capabilities, 0: none
    uint8_t bus_below;                           // a bridge's
    struct pci_bar bar[PCI_BARS];
    struct pci_device *above; // the bridge to its bus; NULL: a root bus
    unsigned group;           // devices of a group cannot be kept from each other by an IOMMU
    struct iommu_device dma;  // that of `alias` serves
    struct pci_device *alias; // whose requester ID its transactions carry
    volatile uint8_t *memory[PCI_BARS]; // as the kernel sees it, once asked for
    void *_Atomic owner;                // core/vfio's, while it is given out
};

extern struct list pci_devices;

// Finds them and logs a line for each unless quiet. `framebuffer`, physical: its device stays the
// kernel's. Boot CPU, once; the heap is there.
void pci_init(uint64_t framebuffer, bool quiet);
// Numbers the devices' groups: by what an IOMMU can tell apart, or one for each device. Returns how
// many there are.
unsigned pci_group(bool isolated);
// Whether the machine says it is virtual, or has Intel's 440FX, which no 64-bit processor ever had.
bool pci_is_emulated(void);
// "0000:00:1f.2"
enum { PCI_NAME_SIZE = 13 };
void pci_name(const struct pci_device *device, char name[static PCI_NAME_SIZE]);
// Offset of a capability, 0: none.
unsigned pci_find_extended(const struct pci_device *device, unsigned id);
// The BAR of memory as the kernel sees it, uncached. NULL: none, too large, or no memory for its
// page tables.
volatile uint8_t *pci_bar_map(struct pci_device *device, unsigned bar);
// DMA and interrupts of its own off.
void pci_quiesce(const struct pci_device *device);
