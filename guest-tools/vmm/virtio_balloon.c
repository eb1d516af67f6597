// SPDX-License-Identifier: BSD-2-Clause
// Inflating gives pages back to the host; a deflated page comes back zeroed on its next touch.
#include "virtio_balloon.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "error.h"
#include "virtio_worker.h"
#include "vm.h"

enum { INFLATE, DEFLATE, STATISTICS, REPORTING }; // without hints their queue does not exist

#define UNREPORTED    UINT64_MAX
#define BALLOON_PAGE  (1u << VIRTIO_BALLOON_PFN_SHIFT)
#define FEATURE(bit)  (1ull << (bit))
#define PFNS_AT_ONCE  256u
#define CONFIG_LENGTH offsetof(struct virtio_balloon_config, free_page_hint_cmd_id)

struct virtio_balloon {
    struct virtio_worker worker;         // first: it is the device
    uint32_t wanted_pages, actual_pages; // atomic
    int ask_fd;                          // eventfd: the driver shall report
    bool asked;
    uint64_t reported[VIRTIO_BALLOON_S_NR]; // atomic; UNREPORTED: the driver does not say
};

static int64_t inflate(const struct virtio_balloon *balloon,
                       const struct virtqueue_buffer *buffer) {
    uint32_t pfns[PFNS_AT_ONCE];

    // No more frames than there are: each takes its time.
    if (buffer->readable_bytes % sizeof(uint32_t) ||
        buffer->readable_bytes / sizeof(uint32_t) >
            balloon->worker.device.vm->memory.size / BALLOON_PAGE) {
        return -EPROTO;
    }
    for (uint32_t at = 0; at < buffer->readable_bytes;) {
        uint32_t got = virtqueue_read(buffer, at, pfns, sizeof(pfns));

        for (uint32_t i = 0; i < got / sizeof(uint32_t); i++) {
            void *page = memory_pointer(&balloon->worker.device.vm->memory,
                                        (uint64_t)le32toh(pfns[i]) * BALLOON_PAGE, BALLOON_PAGE);
            if (page) { // a frame that is no RAM is the guest's mistake and nobody else's
                memory_release(&balloon->worker.device.vm->memory, page, BALLOON_PAGE);
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

        memory_release(&balloon->worker.device.vm->memory, piece->iov_base, piece->iov_len);
    }
    return 0;
}

static bool reports(const struct virtio_balloon *balloon) {
    return balloon->worker.device.driver_features & FEATURE(VIRTIO_BALLOON_F_STATS_VQ);
}

// 5.5.6.3: the driver's report stays here until the next is wanted.
static int64_t take_report(struct virtio_balloon *balloon, const struct virtqueue_buffer *buffer) {
    struct virtio_balloon_stat entry;

    if (balloon->asked) {
        balloon->asked = false;
        return 0;
    }
    for (uint32_t at = 0; virtqueue_read(buffer, at, &entry, sizeof(entry)) == sizeof(entry);
         at += sizeof(entry)) {
        if (le16toh(entry.tag) < VIRTIO_BALLOON_S_NR) {
            __atomic_store_n(&balloon->reported[le16toh(entry.tag)], le64toh(entry.val),
                             __ATOMIC_RELAXED);
        }
    }
    return -EAGAIN;
}

static void ask(struct virtio_worker *worker) {
    struct virtio_balloon *balloon = (struct virtio_balloon *)worker;
    uint64_t count;

    if (read(balloon->ask_fd, &count, sizeof(count)) == sizeof(count) && reports(balloon)) {
        balloon->asked = true;
        virtio_worker_serve(worker, STATISTICS);
    }
}

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    struct virtio_balloon *balloon = (struct virtio_balloon *)worker;

    // 5.5.2: without reports there is no queue of theirs.
    switch (queue + (queue >= STATISTICS && !reports(balloon))) {
    case INFLATE:
        return inflate(balloon, buffer);
    case STATISTICS:
        return take_report(balloon, buffer);
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

static void destroy(struct virtio_device *device) {
    struct virtio_balloon *balloon = (struct virtio_balloon *)device;

    virtio_detach(device);
    close(balloon->ask_fd);
    free(balloon);
}

static const struct virtio_class class = {.name = "virtio-balloon",
                                          .id = VIRTIO_ID_BALLOON,
                                          .pci_class = 0xff0000,
                                          .queue_size = 128,
                                          .config_size = CONFIG_LENGTH,
                                          .read_config = read_config,
                                          .write_config = write_config,
                                          .start = virtio_worker_start,
                                          .stop = virtio_worker_stop,
                                          .destroy = destroy};

struct virtio_device *virtio_balloon_create(struct vm *vm, uint64_t bytes, bool deflate_on_oom,
                                            bool free_page_reporting) {
    struct virtio_balloon *balloon =
        virtio_worker_create(sizeof(*balloon), vm, &class, serve, free_page_reporting ? 4 : 3);

    balloon->wanted_pages = (uint32_t)(bytes / BALLOON_PAGE);
    balloon->ask_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (balloon->ask_fd < 0) {
        fatal_errno("eventfd");
    }
    memset(balloon->reported, 0xff, sizeof(balloon->reported));
    balloon->worker.extra = ask;
    balloon->worker.extra_fd = balloon->ask_fd;
    balloon->worker.device.features |=
        FEATURE(VIRTIO_BALLOON_F_STATS_VQ) |
        (deflate_on_oom ? FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) : 0) |
        (free_page_reporting ? FEATURE(VIRTIO_BALLOON_F_REPORTING) : 0);
    virtio_attach(&balloon->worker.device);
    vm->devices.balloon = balloon;
    return &balloon->worker.device;
}

void virtio_balloon_resize(struct virtio_balloon *balloon, uint64_t bytes) {
    __atomic_store_n(&balloon->wanted_pages, (uint32_t)(bytes / BALLOON_PAGE), __ATOMIC_RELAXED);
    virtio_config_changed(&balloon->worker.device);
}

void virtio_balloon_print(struct virtio_balloon *balloon, FILE *to) {
    static const char *const names[VIRTIO_BALLOON_S_NR] = VIRTIO_BALLOON_S_NAMES;
    const uint64_t one = 1, memory = balloon->worker.device.vm->memory.size;
    uint64_t away = (uint64_t)__atomic_load_n(&balloon->actual_pages, __ATOMIC_RELAXED);

    fprintf(to, "balloon.current=%" PRIu64 "\nballoon.maximum=%" PRIu64 "\n",
            memory - away * BALLOON_PAGE, memory);
    for (unsigned i = 0; i < VIRTIO_BALLOON_S_NR; i++) {
        uint64_t value = __atomic_load_n(&balloon->reported[i], __ATOMIC_RELAXED);

        if (value != UNREPORTED) {
            fprintf(to, "balloon.%s=%" PRIu64 "\n", names[i], value);
        }
    }
    if (write(balloon->ask_fd, &one, sizeof(one)) < 0) {
        return; // asked already
    }
}
