// SPDX-License-Identifier: BSD-2-Clause
// Each slot has descriptors of its own, so there are no lists of free ones.
#include "drivers/virtio_pci/virtio_ring.h"

#include <errno.h>
#include <stddef.h>

void virtio_ring_put(struct virtio_ring *ring, unsigned slot, const struct virtio_piece *pieces,
                     unsigned readable, unsigned writable) {
    uint16_t head = (uint16_t)(ring->indirect ? slot : slot * ring->stride);
    struct vring_desc *table =
        ring->indirect ? ring->indirect + (size_t)slot * ring->stride : ring->descriptors + head;
    uint16_t first = ring->indirect ? 0 : head;

    for (unsigned i = 0; i < readable + writable; i++)
        table[i] = (struct vring_desc){
            .addr = pieces[i].address,
            .len = pieces[i].size,
            .flags = (uint16_t)((i >= readable ? VRING_DESC_F_WRITE : 0) |
                                (i + 1 < readable + writable ? VRING_DESC_F_NEXT : 0)),
            .next = (uint16_t)(first + i + 1),
        };
    if (ring->indirect)
        ring->descriptors[head] =
            (struct vring_desc){.addr = ring->indirect_addresses[slot],
                                .len = (uint32_t)((readable + writable) * sizeof(*table)),
                                .flags = VRING_DESC_F_INDIRECT};
    ring->busy[slot] = true;
    ring->available->ring[ring->next_available++ % ring->size] = head;
    __atomic_store_n(&ring->available->idx, ring->next_available, __ATOMIC_RELEASE);
}

void virtio_ring_kick(struct virtio_ring *ring) {
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(ring->used->flags & VRING_USED_F_NO_NOTIFY))
        *ring->notify = ring->index;
}

int virtio_ring_take(struct virtio_ring *ring, uint32_t *written) {
    if (__atomic_load_n(&ring->used->idx, __ATOMIC_ACQUIRE) == ring->next_used)
        return -1;
    uint32_t head = ring->used->ring[ring->next_used % ring->size].id;
    unsigned stride = ring->indirect ? 1 : ring->stride;
    uint32_t slot = head / stride;

    *written = ring->used->ring[ring->next_used % ring->size].len;
    ring->next_used++;
    if (head % stride || slot >= ring->slots || !ring->busy[slot])
        return -EPROTO;
    ring->busy[slot] = false;
    return (int)slot;
}
