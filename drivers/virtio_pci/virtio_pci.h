// SPDX-License-Identifier: BSD-2-Clause
// The driver's side of a virtio device on the PCI bus: the modern transport (virtio 1.2, 4.1).
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "drivers/pci/pci_device.h"
#include "drivers/virtio_pci/virtio_ring.h"

struct virtio_pci {
    struct pci_device *pci;
    volatile struct virtio_pci_common_cfg *common;
    volatile uint8_t *isr, *config; // config: NULL where there is none
    size_t config_size;
    unsigned notify_bar;
    uint64_t notify_offset, notify_size;
    uint32_t notify_multiplier;
    uint64_t features; // as negotiated
};

// Finds the registers of a device that was taken over. 0 or -errno.
int virtio_pci_open(struct virtio_pci *virtio, struct pci_device *pci);

// Resets the device and agrees on those of `wanted` features that it offers; VERSION_1 and, where
// offered, ACCESS_PLATFORM are added. 0 or -errno.
int virtio_pci_negotiate(struct virtio_pci *virtio, uint64_t wanted);

// Sets a queue of the device up, empty, for `slots` buffers of `pieces` pieces each at most; fewer
// slots (ring->slots) where it has no room. `vector` is one of the interrupts that were enabled,
// -1: none. A ring that is zero gets memory, which it keeps for the next time. 0 or -errno.
int virtio_pci_add_ring(struct virtio_pci *virtio, struct virtio_ring *ring, unsigned queue,
                        unsigned slots, unsigned pieces, int vector);

// All rings are set up: the device may begin.
void virtio_pci_start(struct virtio_pci *virtio);

// Copies from the device's configuration; false where it ends before.
bool virtio_pci_read_config(const struct virtio_pci *virtio, size_t offset, void *data,
                            size_t size);
