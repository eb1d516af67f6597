// SPDX-License-Identifier: BSD-2-Clause
// A disk served from a raw image file by this program: virtio 1.2, 5.2.
#pragma once

#include "options.h"

struct vm;
struct virtio_device;

// Adds a disk whose bytes are those of the options' file. NULL with errno where it cannot be used.
struct virtio_device *virtio_block_create(struct vm *vm, const struct disk_options *options);
