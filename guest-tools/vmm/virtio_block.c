// SPDX-License-Identifier: BSD-2-Clause
// Requests are carried out by the device's own thread, one after the other.
#include "virtio_block.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/block/raw_file.h"
#include "drivers/block/virtio_block.h"
#include "virtio_worker.h"

#define QUEUE_SIZE 256

struct virtio_block {
    struct virtio_worker worker; // first: it is the device
    struct block_device *disk;
    struct virtio_block_request request;
};

static void finished(struct virtio_block_request *request) {
    (void)request; // before virtio_block_submit returns: a raw file's requests end at once
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    struct virtio_block *block = (struct virtio_block *)worker;
    int error = virtio_block_submit(&block->request, block->disk, queue, buffer);

    return error ? error : (int64_t)block->request.written;
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data,
                        uint32_t length) {
    struct virtio_blk_config config;

    virtio_block_config(((struct virtio_block *)device)->disk, 1, &config);
    memcpy(data, (uint8_t *)&config + offset, length);
}

static void print(const struct virtio_device *device, unsigned number, FILE *to) {
    static const char *const names[] = {
        [BLOCK_READ] = "rd", [BLOCK_WRITE] = "wr", [BLOCK_FLUSH] = "fl"};
    const struct block_device *disk = ((const struct virtio_block *)device)->disk;

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct block_counters *counters = &disk->counters[i];

        fprintf(to,
                "block.%u.%s.reqs=%" PRIu64 "\nblock.%u.%s.bytes=%" PRIu64
                "\nblock.%u.%s.times=%" PRIu64 "\nblock.%u.%s.errors=%" PRIu64 "\n",
                number, names[i], counters->requests, number, names[i], counters->bytes, number,
                names[i], counters->nanoseconds, number, names[i], counters->errors);
    }
}

static void destroy(struct virtio_device *device) {
    struct virtio_block *block = (struct virtio_block *)device;

    virtio_detach(device);
    raw_file_close(block->disk);
    free(block);
}

static const struct virtio_class class = {.name = "virtio-blk",
                                          .id = VIRTIO_ID_BLOCK,
                                          .pci_class = 0x018000,
                                          .queue_size = QUEUE_SIZE,
                                          .config_size = sizeof(struct virtio_blk_config),
                                          .read_config = read_config,
                                          .start = virtio_worker_start,
                                          .stop = virtio_worker_stop,
                                          .print = print,
                                          .destroy = destroy};

struct virtio_device *virtio_block_create(struct vm *vm, const struct disk_options *options) {
    // One that was handed over is used again after a reset.
    int fd = options->fd >= 0 ? fcntl(options->fd, F_DUPFD_CLOEXEC, 0) : -1;
    struct block_device *disk = raw_file_open(options->path, options->read_only, fd);

    if (!disk) {
        return NULL;
    }
    struct virtio_block *block = virtio_worker_create(sizeof(*block), vm, &class, serve, 1);
    block->disk = disk;
    block->request.finished = finished;
    block->worker.device.features |= virtio_block_features(disk, 1);
    virtio_attach(&block->worker.device);
    return &block->worker.device;
}
