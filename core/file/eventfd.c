// SPDX-License-Identifier: BSD-2-Clause
// Event counters. The counter is one atomic, so that ioeventfd and irqfd take no lock but the
// queue's when someone waits.
#include "core/file/eventfd.h"
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include "core/file/blocking.h"
#include "core/file/io_buffer.h"
#include "core/mm/heap.h"
#include "core/process/system_call.h"

// eventfd(2): no uapi header has them.
#define EFD_SEMAPHORE 1
#define EFD_CLOEXEC   O_CLOEXEC
#define EFD_NONBLOCK  O_NONBLOCK

#define COUNTER_MAX (UINT64_MAX - 1)

struct eventfd {
    _Atomic uint64_t counter;
    bool semaphore;
    struct wait_queue queue;
};

static const struct file_ops eventfd_ops;

struct eventfd *eventfd_get(int fd, struct file **file) {
    *file = fd_get(fd);
    if (!*file)
        return NULL;
    if ((*file)->ops == &eventfd_ops)
        return (*file)->object;
    file_put(*file);
    *file = NULL;
    return NULL;
}

struct wait_queue *eventfd_queue(struct eventfd *eventfd) {
    return &eventfd->queue;
}

void eventfd_signal(struct eventfd *eventfd, uint64_t count) {
    uint64_t value = atomic_load_explicit(&eventfd->counter, memory_order_relaxed), sum;
    do {
        sum = count > UINT64_MAX - value ? UINT64_MAX : value + count;
    } while (!atomic_compare_exchange_weak(&eventfd->counter, &value, sum));
    wait_queue_wake(&eventfd->queue, EPOLLIN | EPOLLRDNORM);
}

uint64_t eventfd_take(struct eventfd *eventfd) {
    uint64_t value = atomic_load_explicit(&eventfd->counter, memory_order_relaxed);
    while (value && !atomic_compare_exchange_weak(&eventfd->counter, &value,
                                                  eventfd->semaphore ? value - 1 : 0))
        ;
    return eventfd->semaphore && value ? 1 : value;
}

static bool can_read(void *object) {
    return atomic_load(&((struct eventfd *)object)->counter);
}

static int64_t eventfd_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct eventfd *eventfd = file->object;
    uint64_t value;
    if (io_remaining(buffer) < sizeof(value))
        return -EINVAL;
    while (!(value = eventfd_take(eventfd))) {
        int error = file_wait_unless_nonblocking(file, &eventfd->queue, can_read, eventfd);
        if (error)
            return error;
    }
    wait_queue_wake(&eventfd->queue, EPOLLOUT | EPOLLWRNORM);
    return io_copy_to(buffer, &value, sizeof(value)) ? -EFAULT : (int64_t)sizeof(value);
}

struct addition {
    struct eventfd *eventfd;
    uint64_t count;
};

static bool fits(void *object) {
    const struct addition *addition = object;
    uint64_t value = atomic_load(&addition->eventfd->counter);
    return value <= COUNTER_MAX && addition->count <= COUNTER_MAX - value;
}

static int64_t eventfd_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct eventfd *eventfd = file->object;
    struct addition addition = {.eventfd = eventfd};
    if (io_remaining(buffer) < sizeof(addition.count))
        return -EINVAL;
    if (io_copy_from(buffer, &addition.count, sizeof(addition.count)))
        return -EFAULT;
    if (addition.count == UINT64_MAX)
        return -EINVAL;
    uint64_t value = atomic_load_explicit(&eventfd->counter, memory_order_relaxed);
    for (;;) {
        if (value > COUNTER_MAX || addition.count > COUNTER_MAX - value) {
            int error = file_wait_unless_nonblocking(file, &eventfd->queue, fits, &addition);
            if (error)
                return error;
            value = atomic_load_explicit(&eventfd->counter, memory_order_relaxed);
        } else if (atomic_compare_exchange_weak(&eventfd->counter, &value,
                                                value + addition.count)) {
            break;
        }
    }
    if (addition.count)
        wait_queue_wake(&eventfd->queue, EPOLLIN | EPOLLRDNORM);
    return sizeof(addition.count);
}

static unsigned eventfd_poll(struct file *file, struct poll_table *table) {
    struct eventfd *eventfd = file->object;
    poll_wait(table, &eventfd->queue);
    uint64_t value = atomic_load(&eventfd->counter);
    unsigned events = 0;
    if (value)
        events |= EPOLLIN | EPOLLRDNORM;
    if (value == UINT64_MAX)
        events |= EPOLLERR;
    if (value < COUNTER_MAX)
        events |= EPOLLOUT | EPOLLWRNORM;
    return events;
}

static void eventfd_release(struct file *file) {
    heap_free(file->object);
}

static const struct file_ops eventfd_ops = {
    .name = "eventfd",
    .read = eventfd_read,
    .write = eventfd_write,
    .poll = eventfd_poll,
    .release = eventfd_release,
};

int64_t sys_eventfd2(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[1];
    if (flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK))
        return -EINVAL;
    struct eventfd *eventfd = heap_new(struct eventfd);
    if (!eventfd)
        return -ENOMEM;
    atomic_store(&eventfd->counter, (unsigned)arguments[0]);
    eventfd->semaphore = flags & EFD_SEMAPHORE;
    wait_queue_init(&eventfd->queue);
    int fd = fd_create(&eventfd_ops, eventfd, O_RDWR | (flags & EFD_NONBLOCK), flags & EFD_CLOEXEC);
    if (fd < 0)
        heap_free(eventfd);
    return fd;
}
