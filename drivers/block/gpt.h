// SPDX-License-Identifier: BSD-2-Clause
// The GUID partition table: UEFI 2.10, chapter 5.3.
#pragma once

#include "drivers/block/block_device.h"

struct gpt_extent {
    uint64_t first, sectors; // of BLOCK_SECTOR_SIZE
};

// Finds a partition by its number (from 1), its label or its own GUID in text. The backup of the
// table is read where the first copy is damaged. 0; -ENODATA: no table; -ENOENT: no such partition;
// -ENOTUNIQ: more than one of that label; -EIO and others: the disk's.
int gpt_find(struct block_device *disk, const char *name, struct gpt_extent *found);
