// SPDX-License-Identifier: BSD-2-Clause
// The driver's side of a split virtqueue (virtio 1.2, 2.7). What the device writes is not trusted.
#pragma once

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#define VIRTIO_RING_SIZE_MAX 256u

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

// Makes a buffer available in a free slot: `readable` pieces the device reads, then `writable` ones
// it fills. virtio_ring_kick tells the device, once for any number of buffers.
void virtio_ring_put(struct virtio_ring *ring, unsigned slot, const struct virtio_piece *pieces,
                     unsigned readable, unsigned writable);
void virtio_ring_kick(struct virtio_ring *ring);

// A slot whose buffer came back, with the bytes written into it: the caller does not trust them.
// -1: none; -EPROTO where the device gave back what it did not have.
int virtio_ring_take(struct virtio_ring *ring, uint32_t *written);
