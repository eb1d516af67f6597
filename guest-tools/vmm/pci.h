// SPDX-License-Identifier: BSD-2-Clause
// The guest's PCI bus 0: configuration space by ports 0xcf8/0xcfc and by ECAM, and a window of
// memory and one of ports in which its devices' registers are.
#pragma once

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bus.h"

#define PCI_DEVICES_MAX 32
#define PCI_CONFIG_SIZE 256

enum pci_bar_kind { PCI_BAR_MEMORY, PCI_BAR_PORTS, PCI_BARS };

// A base address register: its number is its kind.
struct pci_bar {
    uint32_t size; // a power of two, 0 where the device has none
    const struct bus_device_ops *ops;
    uint64_t address; // 0: it does not answer
};

struct pci_device {
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t writable[PCI_CONFIG_SIZE]; // bits of config that the guest may change
    struct pci_bar bars[PCI_BARS];     // their functions are called with the bus's lock held
    // After a configuration write; offset and length say what may have changed.
    void (*config_written)(void *device, unsigned offset, unsigned length);
    // Before a configuration read, where the answer is not in config already.
    void (*config_read)(void *device, unsigned offset, unsigned length);
    // A BAR has another address now.
    void (*bar_moved)(void *device, enum pci_bar_kind bar);
    void *device; // what the functions are given
    unsigned capabilities_end;
    unsigned last_capability;
};

struct pci {
    pthread_mutex_t lock;
    uint32_t config_address;                     // port 0xcf8
    struct pci_device *devices[PCI_DEVICES_MAX]; // by slot, NULL: empty
    struct pci_window {
        struct pci *pci;
    } windows[PCI_BARS];
    struct pci_device host_bridge;
};

// An empty bus with its host bridge.
void pci_create(struct pci *pci, struct bus *ports, struct bus *mmio);

// Fills a device's header. class is base class, subclass and interface.
void pci_device_init(struct pci_device *device, uint16_t vendor, uint16_t id, uint32_t class,
                     uint8_t revision);

// Appends a capability whose body (after id and next pointer) is given. Returns its offset.
unsigned pci_add_capability(struct pci_device *device, uint8_t id, const void *body,
                            unsigned length);

// Puts a device into the first free slot, whose number is returned, and gives its BARs addresses.
unsigned pci_attach(struct pci *pci, struct pci_device *device);

// Takes a device, if one is there, off the bus: no function of it is called any more.
void pci_detach(struct pci *pci, unsigned slot);

uint16_t pci_config_read16(const struct pci_device *device, unsigned offset);
void pci_config_set16(struct pci_device *device, unsigned offset, uint16_t value);
void pci_config_set32(struct pci_device *device, unsigned offset, uint32_t value);
