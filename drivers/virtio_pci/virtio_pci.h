// SPDX-License-Identifier: BSD-2-Clause
// The driver's side of a virtio device on the PCI bus, modern transport (virtio 1.2, 4.1), and of
// its split rings (2.7). Its registers and rings are the device's to fill: nothing read from them
// is an index here unchecked.
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "drivers/pci/pci_device.h"

#define VIRTIO_RING_SIZE_MAX 256u

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

struct virtio_piece {
    uint64_t address; // the device's
    uint32_t size;
};

// A ring of `slots` buffers that may be at the device at once.
struct virtio_ring {
    uint16_t size, slots;
    uint16_t index;  // of the queue
    uint16_t stride; // descriptors of each slot, in the ring or in its indirect table
    volatile uint16_t *notify;
    struct vring_desc *descriptors;
    volatile struct vring_avail *available;
    volatile struct vring_used *used;
    struct vring_desc *indirect; // the slots' tables, NULL: chains in the ring
    uint64_t indirect_addresses[VIRTIO_RING_SIZE_MAX];
    uint16_t next_available, next_used;
    bool busy[VIRTIO_RING_SIZE_MAX]; // slots that are at the device
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

// Makes a buffer available in a free slot: `readable` pieces the device reads, then `writable` ones
// it fills. virtio_ring_kick tells the device, once for any number of buffers.
void virtio_ring_put(struct virtio_ring *ring, unsigned slot, const struct virtio_piece *pieces,
                     unsigned readable, unsigned writable);
void virtio_ring_kick(struct virtio_ring *ring);

// A slot whose buffer came back, with the bytes written into it: the caller does not trust them.
// -1: none; -EPROTO where the device gave back what it did not have.
int virtio_ring_take(struct virtio_ring *ring, uint32_t *written);
