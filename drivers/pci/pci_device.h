// SPDX-License-Identifier: BSD-2-Clause
// Devices on the PCI bus, found in /sys/bus/pci and used through VFIO (<linux/vfio.h>).
#pragma once

#include <linux/vfio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/pci/dma.h"

#define PCI_ADDRESS_SIZE 16 // "0000:00:04.0"
#define PCI_VECTORS_MAX  16

struct pci_identity {
    char address[PCI_ADDRESS_SIZE];
    uint16_t vendor, device;
    uint32_t class; // base class, subclass, programming interface
};

struct pci_group;

struct pci_device {
    struct pci_identity identity;
    struct pci_group *group;
    struct dma_space *dma; // the group's
    int fd;
    struct vfio_region_info regions[VFIO_PCI_NUM_REGIONS];
    bool intx;
    unsigned vectors;
    int interrupts[PCI_VECTORS_MAX]; // eventfds, not blocking
};

// Fills *identity for the device at an address. 0 or -errno.
int pci_identify(const char *address, struct pci_identity *identity);

// The devices of the machine in the order of their addresses, at most `max`. Returns their number.
unsigned pci_list(struct pci_identity *list, unsigned max);

// Takes a device over: reset, registers and bus mastering on, interrupts off. NULL after a message
// on standard error. Once only for each device.
struct pci_device *pci_open(const char *address);
// Bus mastering off.
void pci_stop_dma(const struct pci_device *device);
// Bus mastering and interrupts off, its memory out of reach.
void pci_close(struct pci_device *device);

// Maps registers of a memory BAR. NULL where they lie outside it or cannot be mapped.
volatile void *pci_map(struct pci_device *device, unsigned bar, uint64_t offset, size_t size);
void pci_unmap(volatile void *registers, size_t size);

// Bytes of a region, 0 where there is none; a BAR of I/O ports is read and written by calls.
// Regions are BARs by number or VFIO_PCI_CONFIG_REGION_INDEX. size: 1, 2 or 4. All ones where
// nothing answers.
uint64_t pci_region_size(const struct pci_device *device, unsigned region);
uint32_t pci_read(const struct pci_device *device, unsigned region, uint64_t offset, unsigned size);
void pci_write(const struct pci_device *device, unsigned region, uint64_t offset, unsigned size,
               uint32_t value);

// Offset of the first capability (PCI 3.0, 6.7) of this kind after `after` (0: from the list's
// head); 0: none.
unsigned pci_find_capability(const struct pci_device *device, uint8_t id, unsigned after);

// Turns interrupts on: MSI-X, else MSI, else INTx. Returns the number of vectors, `wanted` at most,
// each with an eventfd in device->interrupts; 0 where the device has none; -errno.
int pci_enable_interrupts(struct pci_device *device, unsigned wanted);

// After an interrupt was taken: an INTx line is masked since and is opened again. The device must
// have been served before, or it interrupts at once.
void pci_interrupt_served(struct pci_device *device);
