// SPDX-License-Identifier: BSD-2-Clause
// A disk whose bytes are those of a file or block special file.
#pragma once

#include "drivers/block/block_device.h"

// Opens it, or takes over fd where that is not -1. Returns NULL with errno set, fd closed; EINVAL
// where its size is no multiple of a sector.
struct block_device *raw_file_open(const char *path, bool read_only, int fd);
void raw_file_close(struct block_device *device);
