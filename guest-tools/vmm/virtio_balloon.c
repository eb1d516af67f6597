// SPDX-License-Identifier: BSD-2-Clause
// Inflating gives pages back to the host; a deflated page comes back zeroed on its next touch.
#include "virtio_balloon.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "virtio_worker.h"
#include "vm.h"

enum { INFLATE, DEFLATE, REPORTING }; // without statistics and hints their queues do not exist

#define BALLOON_PAGE  (1u << VIRTIO_BALLOON_PFN_SHIFT)
#define FEATURE(bit)  (1ull << (bit))
#define PFNS_AT_ONCE  256u
#define CONFIG_LENGTH offsetof(struct virtio_balloon_config, free_page_hint_cmd_id)

struct virtio_balloon {
    struct virtio_device device;
    struct virtio_worker worker;
    uint32_t wanted_pages, actual_pages; // atomic
};

static int64_t inflate(const struct virtio_balloon *balloon,
                       const struct virtqueue_buffer *buffer) {
    uint32_t pfns[PFNS_AT_ONCE];

    if (buffer->readable_bytes % sizeof(uint32_t)) {
        return -EPROTO;
    }
    for (uint32_t at = 0; at < buffer->readable_bytes;) {
        uint32_t got = virtqueue_read(buffer, at, pfns, sizeof(pfns));

        for (uint32_t i = 0; i < got / sizeof(uint32_t); i++) {
            void *page = memory_pointer(&balloon->device.vm->memory,
                                        (uint64_t)le32toh(pfns[i]) * BALLOON_PAGE, BALLOON_PAGE);
            if (page) { // a frame that is no RAM is the guest's mistake and nobody else's
                memory_release(&balloon->device.vm->memory, page, BALLOON_PAGE);
            }
        }
        at += got;
    }
    return 0;
}

// 5.5.6.7: the buffer's own pages are what is free.
static int64_t release_reported(const struct virtio_balloon *balloon,
                                const struct virtqueue_buffer *buffer) {
    for (unsigned i = 0; i < buffer->writable; i++) {
        const struct iovec *piece = &buffer->segments[buffer->readable + i];

        memory_release(&balloon->device.vm->memory, piece->iov_base, piece->iov_len);
    }
    return 0;
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    const struct virtio_balloon *balloon = (const struct virtio_balloon *)worker->device;

    switch (queue) {
    case INFLATE:
        return inflate(balloon, buffer);
    case REPORTING:
        return release_reported(balloon, buffer);
    default:
        return 0;
    }
}

static void read_config(struct virtio_device *device, uint32_t offset, void *data,
                        uint32_t length) {
    const struct virtio_balloon *balloon = (const struct virtio_balloon *)device;
    const struct virtio_balloon_config config = {
        .num_pages = htole32(__atomic_load_n(&balloon->wanted_pages, __ATOMIC_RELAXED)),
        .actual = htole32(__atomic_load_n(&balloon->actual_pages, __ATOMIC_RELAXED))};

    memcpy(data, (const uint8_t *)&config + offset, length);
}

static void write_config(struct virtio_device *device, uint32_t offset, const void *data,
                         uint32_t length) {
    struct virtio_balloon *balloon = (struct virtio_balloon *)device;
    uint32_t value;

    if (offset == offsetof(struct virtio_balloon_config, actual) && length == sizeof(value)) {
        memcpy(&value, data, sizeof(value));
        __atomic_store_n(&balloon->actual_pages, le32toh(value), __ATOMIC_RELAXED);
    }
}

static int start(struct virtio_device *device) {
    return virtio_worker_start(&((struct virtio_balloon *)device)->worker, device);
}

static void stop(struct virtio_device *device) {
    virtio_worker_stop(&((struct virtio_balloon *)device)->worker);
}

static const struct virtio_class class = {.name = "virtio-balloon",
                                          .id = VIRTIO_ID_BALLOON,
                                          .pci_class = 0xff0000,
                                          .queue_size = 128,
                                          .config_size = CONFIG_LENGTH,
                                          .read_config = read_config,
                                          .write_config = write_config,
                                          .start = start,
                                          .stop = stop};

struct virtio_balloon *virtio_balloon_create(struct vm *vm, uint64_t bytes, bool deflate_on_oom,
                                             bool free_page_reporting) {
    struct virtio_balloon *balloon = calloc(1, sizeof(*balloon));

    if (!balloon) {
        fatal("out of memory");
    }
    balloon->wanted_pages = (uint32_t)(bytes / BALLOON_PAGE);
    balloon->worker = (struct virtio_worker){.serve = serve, .extra_fd = -1};
    balloon->device = (struct virtio_device){
        .class = &class,
        .vm = vm,
        .features = VIRTIO_WORKER_FEATURES |
                    (deflate_on_oom ? FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) : 0) |
                    (free_page_reporting ? FEATURE(VIRTIO_BALLOON_F_REPORTING) : 0),
        .queue_count = free_page_reporting ? 3 : 2};
    virtio_attach(&balloon->device);
    return balloon;
}

void virtio_balloon_destroy(struct virtio_balloon *balloon) {
    virtio_detach(&balloon->device);
    free(balloon);
}
