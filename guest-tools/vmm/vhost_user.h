// SPDX-License-Identifier: BSD-2-Clause
// A virtio device whose queues another program serves: the front end's side of vhost-user. The
// guest's kicks and the completions' interrupts pass between that program and the kernel directly.
#pragma once

#include "options.h"

struct vm;
struct virtio_device;

// Adds a disk, or a network interface, that the back end at the options' socket serves. NULL with
// errno where there is none that can, which a machine that is being made waits for a while. A back
// end that goes away is waited for, and what it had taken is given to its successor.
struct virtio_device *vhost_user_block_create(struct vm *vm, const struct disk_options *options);
struct virtio_device *vhost_user_net_create(struct vm *vm, const struct net_options *options);
