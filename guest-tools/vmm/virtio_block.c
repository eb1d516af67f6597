// SPDX-License-Identifier: BSD-2-Clause
// Requests of the block device: in, out, flush, get id, discard, write zeroes.
#define _GNU_SOURCE // fallocate
#include "virtio_block.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"
#include "virtio_worker.h"

#define SECTOR_SIZE       512u
#define QUEUE_SIZE        256
#define RANGES_MAX        16u // of one discard or write-zeroes request
#define RANGE_SECTORS_MAX 0x400000u
#define FEATURE(bit)      (1ull << (bit))

struct virtio_block {
    struct virtio_device device;
    struct virtio_worker worker;
    const char *path;
    int fd;
    bool read_only;
    uint64_t sectors;
    struct virtio_blk_config config;
};

struct request {
    struct virtio_block *block;
    struct iovec data[VIRTQUEUE_SEGMENTS_MAX];
    unsigned count;
    uint64_t bytes;
    uint64_t offset; // bytes from the disk's start
};

// Cuts `skip` bytes off the front and `drop` off the end of the pieces.
static void select_data(struct request *request, const struct iovec *pieces, unsigned count,
                        uint32_t skip, uint32_t total) {
    uint64_t left = total - skip;

    request->count = 0;
    request->bytes = left;
    for (unsigned i = 0; i < count && left; i++) {
        size_t size = pieces[i].iov_len;

        if (skip >= size) {
            skip -= (uint32_t)size;
            continue;
        }
        size -= skip;
        if (size > left) {
            size = left;
        }
        request->data[request->count++] =
            (struct iovec){.iov_base = (uint8_t *)pieces[i].iov_base + skip, .iov_len = size};
        left -= size;
        skip = 0;
    }
}

static bool within_disk(const struct virtio_block *block, uint64_t sector, uint64_t sectors) {
    return sector <= block->sectors && sectors <= block->sectors - sector;
}

// Moves all bytes, however few the file takes at a time.
static uint8_t transfer(struct request *request, bool write) {
    struct iovec *piece = request->data;
    unsigned count = request->count;
    off_t offset = (off_t)request->offset;

    while (count) {
        int fd = request->block->fd;
        ssize_t done =
            write ? pwritev(fd, piece, (int)count, offset) : preadv(fd, piece, (int)count, offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return VIRTIO_BLK_S_IOERR;
        }
        offset += done;
        while (count && (size_t)done >= piece->iov_len) {
            done -= (ssize_t)piece->iov_len;
            piece++;
            count--;
        }
        if (count) {
            piece->iov_base = (uint8_t *)piece->iov_base + done;
            piece->iov_len -= (size_t)done;
        }
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t read_or_write(struct request *request, uint64_t sector, bool write) {
    const struct virtio_block *block = request->block;

    if (request->bytes % SECTOR_SIZE || (write && block->read_only) ||
        !within_disk(block, sector, request->bytes / SECTOR_SIZE)) {
        return VIRTIO_BLK_S_IOERR;
    }
    request->offset = sector * SECTOR_SIZE;
    return transfer(request, write);
}

static uint8_t flush(const struct virtio_block *block) {
    return fdatasync(block->fd) < 0 ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK;
}

static uint8_t clear_range(const struct virtio_block *block,
                           const struct virtio_blk_discard_write_zeroes *range, bool discard) {
    int mode = FALLOC_FL_KEEP_SIZE | (discard || range->flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP
                                          ? FALLOC_FL_PUNCH_HOLE
                                          : FALLOC_FL_ZERO_RANGE);

    // 5.2.6.2: no flag but unmap, and that only with write zeroes.
    if (range->flags & ~(discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP)) {
        return VIRTIO_BLK_S_UNSUPP;
    }
    if (range->num_sectors > RANGE_SECTORS_MAX ||
        !within_disk(block, range->sector, range->num_sectors)) {
        return VIRTIO_BLK_S_IOERR;
    }
    if (range->num_sectors == 0) {
        return VIRTIO_BLK_S_OK;
    }
    if (fallocate(block->fd, mode, (off_t)(range->sector * SECTOR_SIZE),
                  (off_t)((uint64_t)range->num_sectors * SECTOR_SIZE)) < 0) {
        return errno == EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t clear_ranges(const struct virtio_block *block, const struct virtqueue_buffer *buffer,
                            bool discard) {
    struct virtio_blk_discard_write_zeroes ranges[RANGES_MAX];
    uint32_t bytes = buffer->readable_bytes - (uint32_t)sizeof(struct virtio_blk_outhdr);

    if (block->read_only || bytes > sizeof(ranges) || bytes % sizeof(ranges[0])) {
        return VIRTIO_BLK_S_IOERR;
    }
    virtqueue_read(buffer, sizeof(struct virtio_blk_outhdr), ranges, bytes);
    for (uint32_t i = 0; i < bytes / sizeof(ranges[0]); i++) {
        uint8_t status = clear_range(block, &ranges[i], discard);

        if (status != VIRTIO_BLK_S_OK) {
            return status;
        }
    }
    return VIRTIO_BLK_S_OK;
}

static uint8_t get_id(const struct virtio_block *block, const struct virtqueue_buffer *buffer) {
    char id[VIRTIO_BLK_ID_BYTES] = {0};
    const char *slash = strrchr(block->path, '/');
    const char *name = slash ? slash + 1 : block->path;

    memcpy(id, name, strnlen(name, sizeof(id)));
    virtqueue_write(buffer, 0, id,
                    buffer->writable_bytes - 1 < sizeof(id) ? buffer->writable_bytes - 1
                                                            : sizeof(id));
    return VIRTIO_BLK_S_OK;
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    struct virtio_block *block = (struct virtio_block *)worker->device;
    struct request request = {.block = block};
    struct virtio_blk_outhdr header;
    uint8_t status;
    (void)queue;

    // 5.2.6: a header to read, the data, a status byte to write.
    if (virtqueue_read(buffer, 0, &header, sizeof(header)) != sizeof(header) ||
        buffer->writable_bytes < 1) {
        return -EPROTO;
    }
    uint32_t written = buffer->writable_bytes - 1;
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        select_data(&request, buffer->segments + buffer->readable, buffer->writable, 0, written);
        status = read_or_write(&request, header.sector, false);
        break;
    case VIRTIO_BLK_T_OUT:
        select_data(&request, buffer->segments, buffer->readable, sizeof(header),
                    buffer->readable_bytes);
        status = read_or_write(&request, header.sector, true);
        break;
    case VIRTIO_BLK_T_FLUSH:
        status = flush(block);
        break;
    case VIRTIO_BLK_T_GET_ID:
        status = get_id(block, buffer);
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        status = clear_ranges(block, buffer, header.type == VIRTIO_BLK_T_DISCARD);
        break;
    default:
        status = VIRTIO_BLK_S_UNSUPP;
        break;
    }
    virtqueue_write(buffer, written, &status, sizeof(status));
    return buffer->writable_bytes;
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data,
                        uint32_t length) {
    memcpy(data, (uint8_t *)&((struct virtio_block *)device)->config + offset, length);
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

static uint64_t size_of(const struct virtio_block *block) {
    struct stat status;
    uint64_t size = 0;

    if (fstat(block->fd, &status) < 0) {
        fatal_errno("%s", block->path);
    }
    if (S_ISBLK(status.st_mode)) {
        if (ioctl(block->fd, BLKGETSIZE64, &size) < 0) {
            fatal_errno("%s", block->path);
        }
        return size;
    }
    return (uint64_t)status.st_size;
}

struct virtio_block *virtio_block_create(struct vm *vm, const char *path, bool read_only) {
    struct virtio_block *block = calloc(1, sizeof(*block));

    if (!block) {
        fatal("out of memory");
    }
    block->path = path;
    block->read_only = read_only;
    block->fd = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    if (block->fd < 0) {
        fatal_errno("cannot open disk image %s", path);
    }
    uint64_t size = size_of(block);
    if (size % SECTOR_SIZE) {
        fatal("disk image %s: %llu bytes are no multiple of %u", path, (unsigned long long)size,
              SECTOR_SIZE);
    }
    block->sectors = size / SECTOR_SIZE;
    block->config = (struct virtio_blk_config){.capacity = block->sectors,
                                               .seg_max = QUEUE_SIZE / 2 - 2,
                                               .max_discard_sectors = RANGE_SECTORS_MAX,
                                               .max_discard_seg = RANGES_MAX,
                                               .discard_sector_alignment = 1,
                                               .max_write_zeroes_sectors = RANGE_SECTORS_MAX,
                                               .max_write_zeroes_seg = RANGES_MAX,
                                               .write_zeroes_may_unmap = 1};
    block->worker = (struct virtio_worker){.serve = serve, .extra_fd = -1};
    block->device = (struct virtio_device){
        .class = &class,
        .vm = vm,
        .features =
            FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_FLUSH) |
            (read_only ? FEATURE(VIRTIO_BLK_F_RO)
                       : FEATURE(VIRTIO_BLK_F_DISCARD) | FEATURE(VIRTIO_BLK_F_WRITE_ZEROES)),
        .queue_count = 1};
    virtio_attach(&block->device);
    return block;
}

void virtio_block_destroy(struct virtio_block *block) {
    virtio_detach(&block->device);
    close(block->fd);
    free(block);
}
