// SPDX-License-Identifier: BSD-2-Clause
// A balloon: the guest gives memory back and reports what it does not use. virtio 1.2, 5.5.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct vm;
struct virtio_balloon;
struct virtio_device;

// Adds a balloon, vm->devices.balloon, that asks the guest for `bytes`, and with
// free_page_reporting for what is unused.
struct virtio_device *virtio_balloon_create(struct vm *vm, uint64_t bytes, bool deflate_on_oom,
                                            bool free_page_reporting);

// Asks the guest for so many bytes from now on. Any thread.
void virtio_balloon_resize(struct virtio_balloon *balloon, uint64_t bytes);

// What the guest has, and what its driver said when it was last asked; asks it anew.
void virtio_balloon_print(struct virtio_balloon *balloon, FILE *to);
