// SPDX-License-Identifier: BSD-2-Clause
// A guest's memory is the input: rings, descriptors and tables. Whatever stands there, a buffer's
// pieces lie in memory, and popping ends.
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "drivers/virtio/virtqueue.h"

#define MEMORY_SIZE 0x4000u
#define SIZE        16u

static uint8_t ram[MEMORY_SIZE] __attribute__((aligned(4096)));

static void check(const struct virtqueue_buffer *buffer) {
    uint64_t bytes = 0;

    for (unsigned i = 0; i < buffer->readable + buffer->writable; i++) {
        const struct iovec *piece = &buffer->segments[i];
        const uint8_t *start = piece->iov_base;

        bytes += piece->iov_len;
        if (start < ram || piece->iov_len > MEMORY_SIZE ||
            start + piece->iov_len > ram + MEMORY_SIZE)
            abort();
    }
    if (bytes != (uint64_t)buffer->readable_bytes + buffer->writable_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct guest_memory_map map = {
        .regions = {{0, 0x1800, ram}, {0x1800, MEMORY_SIZE - 0x1800, ram + 0x1800}}, .count = 2};
    const struct virtqueue_addresses addresses = {0, 0x1000, 0x1100};
    static struct virtqueue_buffer buffer;
    struct virtqueue queue;
    uint8_t pattern[64];
    uint64_t features = 1ull << VIRTIO_F_VERSION_1;

    if (size < 1)
        return 0;
    features |= data[0] & 1 ? 1ull << VIRTIO_F_RING_PACKED : 0;
    features |= data[0] & 2 ? 1ull << VIRTIO_RING_F_INDIRECT_DESC : 0;
    features |= data[0] & 4 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0;
    memset(ram, 0, sizeof(ram));
    memcpy(ram, data + 1, size - 1 < MEMORY_SIZE ? size - 1 : MEMORY_SIZE);
    if (virtqueue_attach(&queue, &map, SIZE, &addresses, features))
        return 0;
    // The device writes into the same memory, rings included.
    for (unsigned i = 0; i < 64 && virtqueue_pop(&queue, &buffer) == 1; i++) {
        check(&buffer);
        virtqueue_read(&buffer, 3, pattern, sizeof(pattern));
        virtqueue_write(&buffer, 5, pattern, sizeof(pattern));
        virtqueue_push(&queue, &buffer, buffer.writable_bytes);
        virtqueue_must_signal(&queue);
        virtqueue_enable_kicks(&queue);
    }
    return 0;
}
