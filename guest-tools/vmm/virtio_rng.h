// SPDX-License-Identifier: BSD-2-Clause
// An entropy device: virtio 1.2, 5.4.
#pragma once

struct vm;
struct virtio_device;

// Adds the device to a VM; its bytes come from the file at path.
struct virtio_device *virtio_rng_create(struct vm *vm, const char *path);
