// SPDX-License-Identifier: BSD-2-Clause
// A virtio device on the PCI bus: virtio 1.2, 4.1, modern transport only. What kind of device it is
// stands in its class; the queues are served by a thread here or by a vhost-user back end.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "drivers/virtio/guest_memory_map.h"
#include "drivers/virtio/virtqueue.h"
#include "msix.h"
#include "pci.h"

#define VIRTIO_QUEUES_MAX 16

struct vm;
struct virtio_device;

struct virtio_class {
    const char *name;
    uint16_t id;        // virtio 1.2, section 5
    uint32_t pci_class; // base class, subclass, interface
    uint16_t queue_size;
    // Device configuration (5.x.4), of config_size bytes. write may be NULL.
    uint32_t config_size;
    void (*read_config)(struct virtio_device *device, uint32_t offset, void *data, uint32_t length);
    void (*write_config)(struct virtio_device *device, uint32_t offset, const void *data,
                         uint32_t length);
    // The driver is ready (DRIVER_OK): serve the enabled queues. -errno makes the device ask for a
    // reset. Runs on a vCPU's thread, with the bus's lock.
    int (*start)(struct virtio_device *device);
    // No queue is touched any more when it returns. Only after start.
    void (*stop)(struct virtio_device *device);
    // Its counters as those of the machine's disk number; NULL: it is no disk served here.
    void (*print)(const struct virtio_device *device, unsigned number, FILE *to);
    void (*destroy)(struct virtio_device *device);
};

struct virtio_queue {
    struct virtqueue_addresses addresses;
    uint16_t size;
    uint16_t vector;
    bool enabled;
    int kick_fd;           // eventfd: the driver has made buffers available
    uint64_t kick_address; // where it is connected as ioeventfd, 0: nowhere
};

struct virtio_device {
    const struct virtio_class *class;
    struct vm *vm;
    uint64_t features; // offered
    uint64_t driver_features;
    unsigned queue_count;
    struct virtio_queue queues[VIRTIO_QUEUES_MAX];
    struct msix msix;
    struct pci_device pci;
    unsigned slot;
    const char *id; // by which it is unplugged, NULL: not at all
    uint8_t status;
    uint8_t isr; // set and cleared with atomic operations
    uint8_t config_generation;
    uint16_t config_vector;
    bool started;
    uint32_t feature_select, driver_feature_select;
    uint16_t queue_select;
    unsigned window_capability; // VIRTIO_PCI_CAP_PCI_CFG
};

// Puts the device on the VM's bus. class, vm, features (the device's own) and queue_count are set.
void virtio_attach(struct virtio_device *device);

// Stops it and lets go of its interrupts and kicks.
void virtio_detach(struct virtio_device *device);

// Where the completion of a queue is signalled: an eventfd, -1 where the driver polls.
int virtio_call_fd(const struct virtio_device *device, unsigned queue);

// Tells the driver of a change of the configuration. Any thread.
void virtio_config_changed(struct virtio_device *device);

// The device cannot go on until it is reset (2.1.2). Any thread.
void virtio_needs_reset(struct virtio_device *device);
