// SPDX-License-Identifier: BSD-2-Clause
// A virtio device whose queues a thread within this program serves.
#pragma once

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>

#include "virtio.h"

// What the queues served here offer, beside the device's own features.
#define VIRTIO_WORKER_FEATURES                                                                     \
    (1ull << VIRTIO_F_RING_PACKED | 1ull << VIRTIO_RING_F_EVENT_IDX |                              \
     1ull << VIRTIO_RING_F_INDIRECT_DESC)

struct virtio_worker {
    struct virtio_device device; // first: its functions are given it
    // Serves one buffer of a queue: returns the bytes written into it, or -errno: -EAGAIN leaves
    // the buffer for later (poke), any other is the driver's fault and ends the service.
    int64_t (*serve)(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer);
    // Bytes have come on extra_fd, or it was closed. May be NULL.
    void (*extra)(struct virtio_worker *worker);
    int extra_fd; // -1: none
    pthread_t thread;
    int stop_fd;
    bool stopping;
    struct virtqueue queues[VIRTIO_QUEUES_MAX];
    bool enabled[VIRTIO_QUEUES_MAX];
    struct virtqueue_buffer buffer; // the one being served
};

// Memory for a device of that kind, of size bytes of which a virtio_worker is the first: what is
// not said here is zeros, but extra_fd.
void *virtio_worker_create(size_t size, struct vm *vm, const struct virtio_class *class,
                           int64_t (*serve)(struct virtio_worker *worker, unsigned queue,
                                            const struct virtqueue_buffer *buffer),
                           unsigned queues);

// Of the classes of such devices: attaches to the enabled queues and starts the thread, -errno
// where a queue is bad; ends it; frees the device.
int virtio_worker_start(struct virtio_device *device);
void virtio_worker_stop(struct virtio_device *device);
void virtio_worker_destroy(struct virtio_device *device);

// Serves what waits in a queue. On the worker's own thread only.
void virtio_worker_serve(struct virtio_worker *worker, unsigned queue);
