// SPDX-License-Identifier: BSD-2-Clause
// A part of a disk that is a disk of its own.
#pragma once

#include "drivers/block/block_device.h"

// Sectors of the disk from `first` on, which must lie within it. NULL where there is no memory.
struct block_device *partition_create(struct block_device *disk, uint64_t first, uint64_t sectors,
                                      bool read_only);
