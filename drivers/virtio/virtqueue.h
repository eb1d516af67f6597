// SPDX-License-Identifier: BSD-2-Clause
// The device's side of a virtqueue, split or packed: virtio 1.2, 2.7 and 2.8. The other side is a
// guest that may write anything at any time: every descriptor is copied once, then checked.
#pragma once

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "drivers/virtio/guest_memory_map.h"

#define VIRTQUEUE_SIZE_MAX     1024u
#define VIRTQUEUE_SEGMENTS_MAX 256u // pieces of one buffer, both directions together

struct virtqueue_addresses {
    uint64_t descriptors; // guest-physical: descriptor table, or the packed ring
    uint64_t driver;      // available ring, or the driver's event suppression
    uint64_t device;      // used ring, or the device's event suppression
};

struct virtqueue {
    const struct guest_memory_map *memory;
    void *descriptors, *driver, *device; // mapped
    uint16_t size;
    bool packed, event_index, indirect;
    uint16_t next_available; // split: free-running; packed: a ring index
    uint16_t next_used;
    bool available_wrap, used_wrap; // of packed rings
    uint16_t signalled_used;        // next_used when the driver was last looked at for a signal
    bool signalled_wrap;
    bool signalled_valid;
};

// A buffer the driver made available: what it holds for the device to read, then what the device is
// to fill.
struct virtqueue_buffer {
    uint16_t id;          // of the chain, for virtqueue_push
    uint16_t descriptors; // ring slots it takes
    uint16_t record;      // for who keeps one of what is in flight
    uint16_t readable, writable;
    uint32_t readable_bytes, writable_bytes;
    struct iovec segments[VIRTQUEUE_SEGMENTS_MAX]; // the readable ones first
};

// One to be given back: id and descriptors of its buffer, and the bytes written into it.
struct virtqueue_used {
    uint16_t id, descriptors;
    uint32_t written;
};

// Attaches to a ring in guest memory, from its beginning. features are the negotiated ones. Returns
// 0, -EINVAL for a bad size or alignment, -EFAULT where the ring lies outside the memory.
int virtqueue_attach(struct virtqueue *queue, const struct guest_memory_map *memory, uint16_t size,
                     const struct virtqueue_addresses *addresses, uint64_t features);

// The next buffer. Returns 1, 0 where there is none, -EPROTO where the ring is malformed: the
// device then stops serving it.
int virtqueue_pop(struct virtqueue *queue, struct virtqueue_buffer *buffer);

// The buffer whose chain begins at descriptor `head` of a split ring: one that was popped before
// the device's program died. As virtqueue_pop otherwise.
int virtqueue_take(struct virtqueue *queue, uint16_t head, struct virtqueue_buffer *buffer);

// As virtqueue_take for a packed ring: the chain is one that was copied.
int virtqueue_take_packed(struct virtqueue *queue, const struct vring_packed_desc *chain,
                          uint16_t count, struct virtqueue_buffer *buffer);

// Copies the descriptors of the buffer popped last, of a packed ring.
void virtqueue_copy_packed(const struct virtqueue *queue, const struct virtqueue_buffer *buffer,
                           struct vring_packed_desc *chain);

// Where the queue stands, as vhost-user's vring base has it, and going on from there. A split
// ring's used index is the one in the ring.
uint32_t virtqueue_base(const struct virtqueue *queue);
void virtqueue_set_base(struct virtqueue *queue, uint32_t base);

// Of a packed ring: its index, with the wrap counter in bit 15, when that many more descriptors are
// given back.
uint16_t virtqueue_used_after(const struct virtqueue *queue, uint16_t descriptors);

// Makes the buffer popped last available again. Of several, the last one first.
void virtqueue_unpop(struct virtqueue *queue, uint16_t descriptors);

// Gives buffers back that belong together: the driver sees all of them at once.
void virtqueue_push_all(struct virtqueue *queue, const struct virtqueue_used *used, unsigned count);

// Gives a buffer back, with the number of bytes written into it. Any order.
void virtqueue_push(struct virtqueue *queue, const struct virtqueue_buffer *buffer,
                    uint32_t written);

// Whether the driver wants an interrupt for what was pushed since the last call.
bool virtqueue_must_signal(struct virtqueue *queue);

// Asks the driver for a kick on its next buffer. Returns true where one has come in between: the
// caller pops again instead of waiting.
bool virtqueue_enable_kicks(struct virtqueue *queue);
void virtqueue_disable_kicks(struct virtqueue *queue);

// Copies between a buffer's readable (or writable) part, from an offset, and data. Returns the
// bytes copied, fewer than length where the part ends.
uint32_t virtqueue_read(const struct virtqueue_buffer *buffer, uint32_t offset, void *data,
                        uint32_t length);
uint32_t virtqueue_write(const struct virtqueue_buffer *buffer, uint32_t offset, const void *data,
                         uint32_t length);
