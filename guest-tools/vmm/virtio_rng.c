// SPDX-License-Identifier: BSD-2-Clause
// Fills the driver's buffers with random bytes.
#include "virtio_rng.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <unistd.h>

#include "error.h"
#include "virtio_worker.h"

#define BYTES_MAX 4096u

struct virtio_rng {
    struct virtio_device device;
    struct virtio_worker worker;
    const char *path;
    int fd;
};

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    const struct virtio_rng *rng = (const struct virtio_rng *)worker->device;
    (void)queue;

    if (buffer->readable || !buffer->writable) {
        return -EPROTO;
    }
    // 5.4.6.2: at least one byte, and no more than is done at once.
    size_t room = buffer->segments[0].iov_len;
    ssize_t got = read(rng->fd, buffer->segments[0].iov_base, room < BYTES_MAX ? room : BYTES_MAX);
    if (got <= 0) {
        fatal_errno("no random bytes from %s", rng->path);
    }
    return got;
}

static int start(struct virtio_device *device) {
    return virtio_worker_start(&((struct virtio_rng *)device)->worker, device);
}

static void stop(struct virtio_device *device) {
    virtio_worker_stop(&((struct virtio_rng *)device)->worker);
}

static void destroy(struct virtio_device *device) {
    struct virtio_rng *rng = (struct virtio_rng *)device;

    virtio_detach(device);
    close(rng->fd);
    free(rng);
}

static const struct virtio_class class = {.name = "virtio-rng",
                                          .id = VIRTIO_ID_RNG,
                                          .pci_class = 0xff0000,
                                          .queue_size = 64,
                                          .start = start,
                                          .stop = stop,
                                          .destroy = destroy};

struct virtio_device *virtio_rng_create(struct vm *vm, const char *path) {
    struct virtio_rng *rng = calloc(1, sizeof(*rng));

    if (!rng) {
        fatal("out of memory");
    }
    rng->path = path;
    rng->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (rng->fd < 0) {
        fatal_errno("cannot open %s", path);
    }
    rng->worker = (struct virtio_worker){.serve = serve, .extra_fd = -1};
    rng->device = (struct virtio_device){
        .class = &class, .vm = vm, .features = VIRTIO_WORKER_FEATURES, .queue_count = 1};
    virtio_attach(&rng->device);
    return &rng->device;
}
