// SPDX-License-Identifier: BSD-2-Clause
// A request is a header the device reads, the data, and a status byte it writes (5.2.6).
#include "drivers/block/virtio_block.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "drivers/clock.h"

#define SEGMENTS_MAX      126u // of data; guests split what is longer
#define SEGMENT_BYTES_MAX (BLOCK_TRANSFER_MAX / (SEGMENTS_MAX + 2))
#define RANGE_SECTORS_MAX 0x400000u
#define BIT(number)       (1ull << (number))

uint64_t virtio_block_features(const struct block_device *device, unsigned queues) {
    return BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_FLUSH) |
           BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_BLK_SIZE) |
           (queues > 1 ? BIT(VIRTIO_BLK_F_MQ) : 0) |
           (device->read_only ? BIT(VIRTIO_BLK_F_RO) : 0) |
           (device->discards ? BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES) : 0);
}

void virtio_block_config(const struct block_device *device, unsigned queues,
                         struct virtio_blk_config *config) {
    *config = (struct virtio_blk_config){
        .capacity = device->sectors,
        .size_max = SEGMENT_BYTES_MAX,
        .seg_max = SEGMENTS_MAX,
        .blk_size = device->logical_block,
        .physical_block_exp =
            (uint8_t)__builtin_ctz(device->physical_block / device->logical_block),
        .num_queues = (uint16_t)queues,
        .max_discard_sectors = RANGE_SECTORS_MAX,
        .max_discard_seg = 1,
        .discard_sector_alignment = device->logical_block / BLOCK_SECTOR_SIZE,
        .max_write_zeroes_sectors = RANGE_SECTORS_MAX,
        .max_write_zeroes_seg = 1,
        .write_zeroes_may_unmap = 1,
    };
}

static void finish(struct virtio_block_request *request, uint8_t status) {
    virtqueue_write(&request->buffer, request->buffer.writable_bytes - 1, &status, sizeof(status));
    request->written = request->buffer.writable_bytes;
    request->finished(request);
}

static void count(struct virtio_block_request *request, int error) {
    struct block_counters *counters = &request->device->counters[request->block.operation];

    __atomic_fetch_add(&counters->requests, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(error ? &counters->errors : &counters->bytes,
                       error ? 1 : request->block.length, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->nanoseconds, clock_now() - request->begun, __ATOMIC_RELAXED);
}

static void done(struct block_request *block, int error) {
    struct virtio_block_request *request = (struct virtio_block_request *)block;

    count(request, error);
    finish(request, !error                 ? VIRTIO_BLK_S_OK
                    : error == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP
                                           : VIRTIO_BLK_S_IOERR);
}

// Takes `skip` bytes off the front of the pieces, then `length` bytes.
static void select_data(struct virtio_block_request *request, const struct iovec *pieces,
                        unsigned count, size_t skip, uint64_t length) {
    struct block_request *block = &request->block;

    block->length = length;
    for (unsigned i = 0; i < count && length; i++) {
        size_t size = pieces[i].iov_len;

        if (skip >= size) {
            skip -= size;
            continue;
        }
        size -= skip;
        if (size > length)
            size = length;
        request->data[block->count++] =
            (struct iovec){.iov_base = (uint8_t *)pieces[i].iov_base + skip, .iov_len = size};
        length -= size;
        skip = 0;
    }
}

static bool fits(const struct block_device *device, uint64_t sector, uint64_t bytes) {
    return sector <= device->sectors && bytes / BLOCK_SECTOR_SIZE <= device->sectors - sector &&
           !((sector * BLOCK_SECTOR_SIZE | bytes) & (device->logical_block - 1));
}

static uint8_t prepare_transfer(struct virtio_block_request *request,
                                const struct block_device *device, uint64_t sector, bool write) {
    const struct virtqueue_buffer *buffer = &request->buffer;

    if (write)
        select_data(request, buffer->segments, buffer->readable, sizeof(struct virtio_blk_outhdr),
                    buffer->readable_bytes - sizeof(struct virtio_blk_outhdr));
    else
        select_data(request, buffer->segments + buffer->readable, buffer->writable, 0,
                    buffer->writable_bytes - 1);
    request->block.operation = write ? BLOCK_WRITE : BLOCK_READ;
    request->block.offset = sector * BLOCK_SECTOR_SIZE;
    if (request->block.length > BLOCK_TRANSFER_MAX || (write && device->read_only) ||
        !fits(device, sector, request->block.length))
        return VIRTIO_BLK_S_IOERR;
    return VIRTIO_BLK_S_OK;
}

static uint8_t prepare_clearing(struct virtio_block_request *request,
                                const struct block_device *device, bool discard) {
    struct virtio_blk_discard_write_zeroes range;

    if (request->buffer.readable_bytes != sizeof(struct virtio_blk_outhdr) + sizeof(range))
        return VIRTIO_BLK_S_UNSUPP;
    virtqueue_read(&request->buffer, sizeof(struct virtio_blk_outhdr), &range, sizeof(range));
    // 5.2.6.2: no flag but unmap, and that only with write zeroes.
    if (!device->discards || range.flags & ~(discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
        return VIRTIO_BLK_S_UNSUPP;
    if (range.num_sectors > RANGE_SECTORS_MAX ||
        !fits(device, range.sector, (uint64_t)range.num_sectors * BLOCK_SECTOR_SIZE))
        return VIRTIO_BLK_S_IOERR;
    request->block.operation = discard ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
    request->block.may_unmap = range.flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
    request->block.offset = range.sector * BLOCK_SECTOR_SIZE;
    request->block.length = (uint64_t)range.num_sectors * BLOCK_SECTOR_SIZE;
    return VIRTIO_BLK_S_OK;
}

static void answer_id(struct virtio_block_request *request, const struct block_device *device) {
    uint32_t room = request->buffer.writable_bytes - 1;

    virtqueue_write(&request->buffer, 0, device->id, room < BLOCK_ID_SIZE ? room : BLOCK_ID_SIZE);
    finish(request, VIRTIO_BLK_S_OK);
}

int virtio_block_submit(struct virtio_block_request *request, struct block_device *device,
                        unsigned queue, const struct virtqueue_buffer *buffer) {
    struct virtio_blk_outhdr header;
    uint8_t status = VIRTIO_BLK_S_OK;

    if (virtqueue_read(buffer, 0, &header, sizeof(header)) != sizeof(header) ||
        buffer->writable_bytes < 1)
        return -EPROTO;
    memcpy(&request->buffer, buffer,
           offsetof(struct virtqueue_buffer, segments) +
               (buffer->readable + buffer->writable) * sizeof(buffer->segments[0]));
    request->device = device;
    request->begun = clock_now();
    request->block = (struct block_request){.data = request->data, .queue = queue, .done = done};
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
        status = prepare_transfer(request, device, header.sector, header.type == VIRTIO_BLK_T_OUT);
        break;
    case VIRTIO_BLK_T_FLUSH:
        request->block.operation = BLOCK_FLUSH;
        break;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
        status = prepare_clearing(request, device, header.type == VIRTIO_BLK_T_DISCARD);
        break;
    case VIRTIO_BLK_T_GET_ID:
        answer_id(request, device);
        return 0;
    default:
        status = VIRTIO_BLK_S_UNSUPP;
        break;
    }
    if (status == VIRTIO_BLK_S_OK)
        block_submit(device, &request->block);
    else
        finish(request, status);
    return 0;
}
