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
    struct virtio_worker worker; // first: it is the device
    const char *path;
    int fd;
};

static int64_t serve(struct virtio_worker *worker, unsigned queue,
                     const struct virtqueue_buffer *buffer) {
    const struct virtio_rng *rng = (const struct virtio_rng *)worker;
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
                                          .start = virtio_worker_start,
                                          .stop = virtio_worker_stop,
                                          .destroy = destroy};

struct virtio_device *virtio_rng_create(struct vm *vm, const char *path) {
    struct virtio_rng *rng = virtio_worker_create(sizeof(*rng), vm, &class, serve, 1);

    rng->path = path;
    rng->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (rng->fd < 0) {
        fatal_errno("cannot open %s", path);
    }
    virtio_attach(&rng->worker.device);
    return &rng->worker.device;
}
