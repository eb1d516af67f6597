// SPDX-License-Identifier: BSD-2-Clause
// Named byte streams between programs of the guest and of the host: virtio 1.2, 5.3, a console
// device of several ports, each a Unix socket here and /dev/virtio-ports/NAME in a Linux guest.
#pragma once

#include <stdio.h>

#include "options.h"

struct vm;
struct virtio_device;

// Listens at the sockets, once: machines that are made after each other take them over. Exits with
// a message where it cannot.
void virtio_channels_listen(struct options *options);

// Adds the device. Each port has one client at a time, others are turned away; a client's
// connection ends with the machine, also where it is reset.
// Tells of ports that a program of the guest opens or closes by control_event.
struct virtio_device *virtio_channels_create(struct vm *vm, const struct options *options);

// A line `channel=NAME` for each port that a program of the guest has open.
void virtio_channels_print(const struct virtio_device *device, FILE *to);
