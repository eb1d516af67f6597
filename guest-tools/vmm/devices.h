// SPDX-License-Identifier: BSD-2-Clause
// The virtio devices of one VM.
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "options.h"
#include "pci.h"

struct vm;
struct virtio_device;

struct devices {
    struct virtio_device *all[PCI_DEVICES_MAX]; // in the order they came
    unsigned count;
    struct virtio_input *keyboard;
    struct virtio_device *channels;
    struct virtio_balloon *balloon;
    atomic_uint refused; // slots whose device the guest keeps
    atomic_bool ejected; // some are off the bus, or kept, that devices_end_ejected has not seen
};

// Puts what the options ask for on the VM's PCI bus; exits with a message where it cannot.
void devices_create(struct vm *vm);
void devices_destroy(struct devices *devices);

// Adds a disk or a network interface to a machine that runs, and to its options. argument is as
// that of --disk or --net, allocated and, like fd (the disk's file, or -1), taken over unless it is
// refused. NULL, or why it is refused. With control.h's lock.
const char *devices_add_disk(struct vm *vm, char *argument, int fd);
const char *devices_add_net(struct vm *vm, char *argument, int fd);

// Asks the guest to let go of a device. NULL, or why it is refused.
const char *devices_remove(struct vm *vm, const char *id);

// Ends the devices that the guest has let go of, and tells of those it keeps. With control.h's
// lock.
void devices_end_ejected(struct vm *vm);
