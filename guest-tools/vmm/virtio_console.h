// SPDX-License-Identifier: BSD-2-Clause
// hvc0 of a Linux guest: a console without an emulated port. virtio 1.2, 5.3, one port.
#pragma once

#include <stdbool.h>

struct vm;
struct virtio_device;

// Adds the device; connected, it takes the terminal (terminal.h) as it was opened.
struct virtio_device *virtio_console_create(struct vm *vm, bool connected);
