// SPDX-License-Identifier: BSD-2-Clause
// A disk whose bytes are those of a file on an ext4 file system, through libext2fs. The file exists
// and keeps its size; holes in it are filled when they are written.
#pragma once

#include "drivers/block/block_device.h"

struct ext4;

// Takes over the file system on a disk that nobody else uses, for all files that are opened there.
// NULL with errno set; EUCLEAN where it must be checked, or its journal replayed, first.
struct ext4 *ext4_mount(struct block_device *disk, bool read_only);

// NULL with errno set; EINVAL where it is no regular file or its size no multiple of a sector.
struct block_device *ext4_file_open(struct ext4 *fs, const char *path, bool read_only);
