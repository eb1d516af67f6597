// SPDX-License-Identifier: BSD-2-Clause
// Requests are carried out by the device's own thread, one after the other.
#include "virtio_block.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/block/raw_file.h"
#include "drivers/block/virtio_block.h"
#include "error.h"
#include "virtio_worker.h"

#define QUEUE_SIZE 256

struct virtio_block {
    struct virtio_device device;
    struct virtio_worker worker;
    struct block_device *disk;
    struct virtio_block_request request;
};

static void finished(struct virtio_block_request *request) {
    (void)request; // before virtio_block_submit returns: a raw file's requests end at once
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    struct virtio_block *block = (struct virtio_block *)worker->device;
    int error = virtio_block_submit(&block->request, block->disk, queue, buffer);

    return error ? error : (int64_t)block->request.written;
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data,
                        uint32_t length) {
    struct virtio_blk_config config;

    virtio_block_config(((struct virtio_block *)device)->disk, 1, &config);
    memcpy(data, (uint8_t *)&config + offset, length);
}

static int start(struct virtio_device *device) {
    return virtio_worker_start(&((struct virtio_block *)device)->worker, device);
}

static void stop(struct virtio_device *device) {
    virtio_worker_stop(&((struct virtio_block *)device)->worker);
}

static const struct virtio_class class = {.name = "virtio-blk",
                                          .id = VIRTIO_ID_BLOCK,
                                          .pci_class = 0x018000,
                                          .queue_size = QUEUE_SIZE,
                                          .config_size = sizeof(struct virtio_blk_config),
                                          .read_config = read_config,
                                          .start = start,
                                          .stop = stop};

struct virtio_block *virtio_block_create(struct vm *vm, const char *path, bool read_only) {
    struct virtio_block *block = calloc(1, sizeof(*block));

    if (!block) {
        fatal("out of memory");
    }
    block->disk = raw_file_open(path, read_only);
    if (!block->disk) {
        fatal_errno("cannot use disk image %s", path);
    }
    block->request.finished = finished;
    block->worker = (struct virtio_worker){.serve = serve, .extra_fd = -1};
    block->device = (struct virtio_device){.class = &class,
                                           .vm = vm,
                                           .features = VIRTIO_WORKER_FEATURES |
                                                       virtio_block_features(block->disk, 1),
                                           .queue_count = 1};
    virtio_attach(&block->device);
    return block;
}

void virtio_block_print(const struct virtio_block *block, unsigned number, FILE *to) {
    static const char *const names[] = {
        [BLOCK_READ] = "rd", [BLOCK_WRITE] = "wr", [BLOCK_FLUSH] = "fl"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct block_counters *counters = &block->disk->counters[i];

        fprintf(to,
                "block.%u.%s.reqs=%" PRIu64 "\nblock.%u.%s.bytes=%" PRIu64
                "\nblock.%u.%s.times=%" PRIu64 "\n",
                number, names[i], counters->requests, number, names[i], counters->bytes, number,
                names[i], counters->nanoseconds);
    }
}

void virtio_block_destroy(struct virtio_block *block) {
    virtio_detach(&block->device);
    raw_file_close(block->disk);
    free(block);
}
