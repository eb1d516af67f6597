// SPDX-License-Identifier: BSD-2-Clause
// Requests go to the disk, moved to where the part begins.
#include "drivers/block/partition.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct partition {
    struct block_device device;
    struct block_device *disk;
    uint64_t start; // bytes
};

static void submit(struct block_device *device, struct block_request *request) {
    const struct partition *partition = (const struct partition *)device;

    request->offset += partition->start;
    block_submit(partition->disk, request);
}

static void poll(struct block_device *device, unsigned queue) {
    struct block_device *disk = ((struct partition *)device)->disk;

    disk->poll(disk, queue);
}

static int map(struct block_device *device, void *address, size_t size) {
    struct block_device *disk = ((struct partition *)device)->disk;

    return disk->map(disk, address, size);
}

static void unmap(struct block_device *device, void *address, size_t size) {
    struct block_device *disk = ((struct partition *)device)->disk;

    disk->unmap(disk, address, size);
}

struct block_device *partition_create(struct block_device *disk, uint64_t first, uint64_t sectors,
                                      bool read_only) {
    struct partition *partition = calloc(1, sizeof(*partition));

    if (!partition)
        return NULL;
    partition->disk = disk;
    partition->start = first * BLOCK_SECTOR_SIZE;
    partition->device = (struct block_device){.sectors = sectors,
                                              .logical_block = disk->logical_block,
                                              .physical_block = disk->physical_block,
                                              .read_only = read_only || disk->read_only,
                                              .discards = disk->discards && !read_only,
                                              .submit = submit,
                                              .poll = disk->poll ? poll : NULL,
                                              .map = disk->map ? map : NULL,
                                              .unmap = disk->unmap ? unmap : NULL};
    memcpy(partition->device.id, disk->id, BLOCK_ID_SIZE);
    return &partition->device;
}
