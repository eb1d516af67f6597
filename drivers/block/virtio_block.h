// SPDX-License-Identifier: BSD-2-Clause
// The virtio block device's requests, from a virtqueue's buffer to a disk: virtio 1.2, 5.2.
#pragma once

#include <linux/virtio_blk.h>

#include "drivers/block/block_device.h"
#include "drivers/virtio/virtqueue.h"

struct virtio_block_request {
    struct block_request block;
    struct block_device *device;
    uint64_t begun;                 // nanoseconds of CLOCK_MONOTONIC
    struct virtqueue_buffer buffer; // taken over from the ring
    struct iovec data[VIRTQUEUE_SEGMENTS_MAX];
    // The status is in the guest's memory; the buffer goes back with `written` bytes. On any
    // thread, perhaps before virtio_block_submit returns.
    void (*finished)(struct virtio_block_request *request);
    uint32_t written;
};

// Feature bits and configuration of a device that stands for the disk.
uint64_t virtio_block_features(const struct block_device *device, unsigned queues);
void virtio_block_config(const struct block_device *device, unsigned queues,
                         struct virtio_blk_config *config);

// Carries out the request in a buffer of a queue; the buffer is copied. Counts it. -EPROTO where
// the buffer is malformed; then finished is not called.
int virtio_block_submit(struct virtio_block_request *request, struct block_device *device,
                        unsigned queue, const struct virtqueue_buffer *buffer);
