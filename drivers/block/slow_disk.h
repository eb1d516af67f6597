// SPDX-License-Identifier: BSD-2-Clause
// A disk as slow as asked, for tests: what comes back late and out of order finds the faults of who
// waits for it.
#pragma once

#include "drivers/block/block_device.h"

// Each request begins after a random time of at most `delay` milliseconds. NULL with errno set.
struct block_device *slow_disk_create(struct block_device *disk, unsigned delay);
