// SPDX-License-Identifier: BSD-2-Clause
// The virtio devices of one VM.
#pragma once

#include "options.h"

struct vm;

struct devices {
    struct virtio_console *console;
    struct virtio_channels *channels;
    struct virtio_input *keyboard;
    struct virtio_rng *rng;
    struct virtio_balloon *balloon;
    struct virtio_block *blocks[OPTIONS_DISKS_MAX];
    struct vhost_user *others[OPTIONS_DISKS_MAX + OPTIONS_NETS_MAX];
    unsigned block_count, other_count;
};

// Puts what the options ask for on the VM's PCI bus.
void devices_create(struct vm *vm, const struct options *options);
void devices_destroy(struct devices *devices);
