// SPDX-License-Identifier: BSD-2-Clause
// Named byte streams between programs of the guest and of the host: virtio 1.2, 5.3, a console
// device of several ports, each a Unix socket here and /dev/virtio-ports/NAME in a Linux guest.
#pragma once

#include "options.h"

struct vm;
struct virtio_device;

// Listens at the sockets, once: machines that are made after each other take them over. Exits with
// a message where it cannot.
void virtio_channels_listen(struct options *options);

// Adds the device. Each port has one client at a time, others are turned away; a client's
// connection ends with the machine, also where it is reset.
struct virtio_device *virtio_channels_create(struct vm *vm, const struct options *options);
