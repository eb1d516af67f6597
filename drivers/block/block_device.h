// SPDX-License-Identifier: BSD-2-Clause
// The border between those who serve disks to guests and those who hold the disks.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_SECTOR_SIZE 512u
#define BLOCK_ID_SIZE     20u

enum block_operation {
    BLOCK_READ,
    BLOCK_WRITE,
    BLOCK_FLUSH, // what was written before it is on the medium when it is done
    BLOCK_DISCARD,
    BLOCK_WRITE_ZEROES,
};

struct block_request {
    enum block_operation operation;
    bool may_unmap;          // of BLOCK_WRITE_ZEROES
    uint64_t offset, length; // bytes; within the disk and multiples of BLOCK_SECTOR_SIZE
    struct iovec *data;      // may be changed by who carries the request out
    unsigned count;
    // The request is over: 0 or -errno. On any thread, perhaps before block_submit returns.
    void (*done)(struct block_request *request, int error);
};

struct block_device {
    uint64_t sectors;
    uint32_t physical_block; // bytes the medium writes at once
    bool read_only, discards;
    char id[BLOCK_ID_SIZE];
    void (*submit)(struct block_device *device, struct block_request *request);
};

static inline void block_submit(struct block_device *device, struct block_request *request) {
    device->submit(device, request);
}
