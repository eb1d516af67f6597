// SPDX-License-Identifier: BSD-2-Clause
// The guest's PCI bus 0: configuration space by ports 0xcf8/0xcfc and by ECAM, and a window of
// memory in which its devices' registers are.
#pragma once

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "bus.h"

#define PCI_DEVICES_MAX 32
#define PCI_CONFIG_SIZE 256

struct pci_device {
    uint8_t config[PCI_CONFIG_SIZE];
    uint8_t writable[PCI_CONFIG_SIZE]; // bits of config that the guest may change
    // BAR 0, in memory; size 0 where the device has none. Called with the bus's lock held.
    uint32_t bar_size;
    const struct bus_device_ops *bar;
    // After a configuration write; offset and length say what may have changed.
    void (*config_written)(void *device, unsigned offset, unsigned length);
    // Before a configuration read, where the answer is not in config already.
    void (*config_read)(void *device, unsigned offset, unsigned length);
    // BAR 0 has moved to address, or 0: it does not answer.
    void (*bar_moved)(void *device, uint64_t address);
    void *device; // what the functions are given
    uint64_t bar_address;
    unsigned capabilities_end;
    unsigned last_capability;
};

struct pci {
    pthread_mutex_t lock;
    uint32_t config_address; // port 0xcf8
    struct pci_device *devices[PCI_DEVICES_MAX];
    unsigned count;
    uint32_t next_bar;
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

// Puts a device into the next free slot and gives its BAR an address.
void pci_attach(struct pci *pci, struct pci_device *device);

uint16_t pci_config_read16(const struct pci_device *device, unsigned offset);
void pci_config_set16(struct pci_device *device, unsigned offset, uint16_t value);
void pci_config_set32(struct pci_device *device, unsigned offset, uint32_t value);
