// SPDX-License-Identifier: BSD-2-Clause
// A disk served from a raw image file by this program: virtio 1.2, 5.2.
#pragma once

#include <stdbool.h>
#include <stdio.h>

struct vm;
struct virtio_block;

// Adds a disk whose bytes are those of the file at path; exits with a message where it cannot be
// used.
struct virtio_block *virtio_block_create(struct vm *vm, const char *path, bool read_only);

// Its counters, as the machine's disk number.
void virtio_block_print(const struct virtio_block *block, unsigned number, FILE *to);

void virtio_block_destroy(struct virtio_block *block);
