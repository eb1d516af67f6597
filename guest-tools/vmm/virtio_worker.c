// SPDX-License-Identifier: BSD-2-Clause
// Waits for kicks, and serves until the ring is empty.
#include "virtio_worker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "error.h"
#include "vm.h"

static void signal_driver(struct virtio_worker *worker, unsigned queue) {
    const uint64_t one = 1;
    int fd = virtio_call_fd(&worker->device, queue);

    // It can only fail by being signalled already.
    if (fd >= 0 && virtqueue_must_signal(&worker->queues[queue]) &&
        write(fd, &one, sizeof(one)) < 0) {
        return;
    }
}

enum outcome {
    EMPTY,
    SERVED,
    BLOCKED, // the next buffer cannot be served now
};

static enum outcome serve_one(struct virtio_worker *worker, unsigned index) {
    struct virtqueue *queue = &worker->queues[index];
    struct virtqueue before = *queue;
    int got = virtqueue_pop(queue, &worker->buffer);

    if (got == 0) {
        return EMPTY;
    }
    int64_t written = got == 1 ? worker->serve(worker, index, &worker->buffer) : got;
    if (written == -EAGAIN) {
        *queue = before;
        return BLOCKED;
    }
    if (written < 0) {
        warning("%s: queue %u is malformed; the device waits for a reset",
                worker->device.class->name, index);
        worker->enabled[index] = false;
        virtio_needs_reset(&worker->device);
        return BLOCKED;
    }
    virtqueue_push(queue, &worker->buffer, (uint32_t)written);
    return SERVED;
}

void virtio_worker_serve(struct virtio_worker *worker, unsigned index) {
    struct virtqueue *queue = &worker->queues[index];
    enum outcome outcome = EMPTY;

    while (worker->enabled[index]) {
        bool served = false;

        virtqueue_disable_kicks(queue);
        while ((outcome = serve_one(worker, index)) == SERVED) {
            served = true;
        }
        if (served) {
            signal_driver(worker, index);
        }
        if (outcome == BLOCKED || !virtqueue_enable_kicks(queue)) {
            return;
        }
    }
}

static void drain(int fd) {
    uint64_t count;

    if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR) {
        fatal_errno("eventfd");
    }
}

static void *run(void *argument) {
    struct virtio_worker *worker = argument;
    unsigned queues = worker->device.queue_count;
    struct pollfd fds[VIRTIO_QUEUES_MAX + 2];
    struct run_gate *gate = &worker->device.vm->gate;

    run_gate_enter(gate, &worker->stopping, NULL);
    for (unsigned i = 0; i < queues; i++) {
        virtio_worker_serve(worker, i); // what came before the first kick
        fds[i] = (struct pollfd){.fd = worker->device.queues[i].kick_fd, .events = POLLIN};
    }
    run_gate_leave(gate);
    for (;;) {
        fds[queues] = (struct pollfd){.fd = worker->stop_fd, .events = POLLIN};
        fds[queues + 1] = (struct pollfd){.fd = worker->extra_fd, .events = POLLIN};
        if (poll(fds, queues + 2, -1) < 0) {
            if (errno == EINTR) {
                continue;
            }
            fatal_errno("poll");
        }
        if (fds[queues].revents) {
            return NULL;
        }
        run_gate_enter(gate, &worker->stopping, NULL);
        for (unsigned i = 0; i < queues; i++) {
            if (fds[i].revents) {
                drain(fds[i].fd);
                virtio_worker_serve(worker, i);
            }
        }
        if (fds[queues + 1].revents) {
            worker->extra(worker);
        }
        run_gate_leave(gate);
    }
}

void *virtio_worker_create(size_t size, struct vm *vm, const struct virtio_class *class,
                           int64_t (*serve)(struct virtio_worker *worker, unsigned queue,
                                            const struct virtqueue_buffer *buffer),
                           unsigned queues) {
    struct virtio_worker *worker = calloc(1, size);

    if (!worker) {
        fatal("out of memory");
    }
    worker->device = (struct virtio_device){
        .class = class, .vm = vm, .features = VIRTIO_WORKER_FEATURES, .queue_count = queues};
    worker->serve = serve;
    worker->extra_fd = -1;
    return worker;
}

int virtio_worker_start(struct virtio_device *device) {
    struct virtio_worker *worker = (struct virtio_worker *)device;
    sigset_t all, before;

    worker->stopping = false;
    for (unsigned i = 0; i < device->queue_count; i++) {
        const struct virtio_queue *queue = &device->queues[i];

        worker->enabled[i] = queue->enabled;
        if (!queue->enabled) {
            continue;
        }
        int error = virtqueue_attach(&worker->queues[i], &device->vm->memory_map, queue->size,
                                     &queue->addresses, device->driver_features);
        if (error) {
            return error;
        }
    }
    worker->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (worker->stop_fd < 0) {
        fatal_errno("eventfd");
    }
    sigfillset(&all); // signals are the main thread's
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errno = pthread_create(&worker->thread, NULL, run, worker);
    if (errno) {
        fatal_errno("cannot start the thread of %s", device->class->name);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return 0;
}

void virtio_worker_stop(struct virtio_device *device) {
    struct virtio_worker *worker = (struct virtio_worker *)device;
    const uint64_t one = 1;

    if (write(worker->stop_fd, &one, sizeof(one)) < 0) {
        fatal_errno("eventfd");
    }
    run_gate_set(&device->vm->gate, &worker->stopping, true);
    pthread_join(worker->thread, NULL);
    close(worker->stop_fd);
}

void virtio_worker_destroy(struct virtio_device *device) {
    virtio_detach(device);
    free(device);
}
