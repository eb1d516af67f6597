// SPDX-License-Identifier: BSD-2-Clause
// Pipes: a ring of bytes between two files. Writes of at most PIPE_BUF bytes are not torn
// (pipe(7)).
#include "core/file/file_mode.h"
#include "core/file/pipe.h"
#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include <linux/fcntl.h>
#include <linux/limits.h>
#include <asm/stat.h>
#include "core/file/blocking.h"
#include "core/file/io_buffer.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/signal.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define PIPE_SIZE     65536u
#define PIPE_SIZE_MAX (1u << 20) // /proc/sys/fs/pipe-max-size's default

struct pipe {
    struct spinlock lock;
    uint8_t *ring;       // allocated at the first write: most pipes carry little, many nothing
    uint32_t size;       // power of two
    uint32_t head, tail; // free-running: bytes put in, bytes taken out
    bool reader, writer; // that end is open
    struct wait_queue queue;
};

static uint32_t used(const struct pipe *pipe) {
    return pipe->head - pipe->tail;
}

static void ring_put(struct pipe *pipe, const uint8_t *data, uint32_t size) {
    uint32_t at = pipe->head & (pipe->size - 1);
    uint32_t first = size < pipe->size - at ? size : pipe->size - at;
    memcpy(pipe->ring + at, data, first);
    memcpy(pipe->ring, data + first, size - first);
    pipe->head += size;
}

static void ring_take(struct pipe *pipe, uint8_t *data, uint32_t size) {
    uint32_t at = pipe->tail & (pipe->size - 1);
    uint32_t first = size < pipe->size - at ? size : pipe->size - at;
    memcpy(data, pipe->ring + at, first);
    memcpy(data + first, pipe->ring, size - first);
    pipe->tail += size;
}

static bool can_read(void *object) {
    struct pipe *pipe = object;
    spin_lock(&pipe->lock);
    bool ready = used(pipe) || !pipe->writer;
    spin_unlock(&pipe->lock);
    return ready;
}

// As Linux: writable means PIPE_BUF bytes fit, so a blocked writer can always go on.
static bool can_write(void *object) {
    struct pipe *pipe = object;
    spin_lock(&pipe->lock);
    bool ready = pipe->size - used(pipe) >= PIPE_BUF || !pipe->reader;
    spin_unlock(&pipe->lock);
    return ready;
}

static int64_t take_chunk(struct pipe *pipe, struct bounce_buffer *bounce, size_t wanted) {
    size_t chunk = wanted < bounce->size ? wanted : bounce->size;
    spin_lock(&pipe->lock);
    if (chunk > used(pipe))
        chunk = used(pipe);
    bool ended = !pipe->writer;
    if (chunk)
        ring_take(pipe, bounce->data, (uint32_t)chunk);
    spin_unlock(&pipe->lock);
    if (chunk) {
        wait_queue_wake(&pipe->queue, EPOLLOUT | EPOLLWRNORM);
        return (int64_t)chunk;
    }
    return ended ? 0 : -EAGAIN;
}

static int64_t pipe_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct pipe *pipe = file->object;
    size_t before = io_remaining(buffer);
    struct bounce_buffer bounce;
    if (!before)
        return 0;
    int64_t error = bounce_buffer_init(&bounce, before);
    while (!error && io_remaining(buffer)) {
        int64_t got = take_chunk(pipe, &bounce, io_remaining(buffer));
        if (got > 0) {
            error = io_copy_to(buffer, bounce.data, (size_t)got);
            thread_preemption_point(); // a writer elsewhere may keep it going
            if (thread_interrupted())
                break;
            continue;
        }
        if (!got || io_remaining(buffer) < before)
            break;
        error = file_wait_unless_nonblocking(file, &pipe->queue, can_read, pipe);
    }
    bounce_buffer_free(&bounce);
    return io_result(buffer, before, error);
}

// Puts `size` bytes, or as many as fit when they need not go as one. Bytes, -EAGAIN (no room),
// -EPIPE.
static int64_t put_chunk(struct pipe *pipe, const uint8_t *data, size_t size, bool atomic) {
    spin_lock(&pipe->lock);
    size_t room = pipe->size - used(pipe);
    int64_t result = -EAGAIN;
    if (!pipe->reader)
        result = -EPIPE;
    else if (room && (size <= room || !atomic)) {
        result = (int64_t)(size < room ? size : room);
        ring_put(pipe, data, (uint32_t)result);
    }
    spin_unlock(&pipe->lock);
    if (result > 0)
        wait_queue_wake(&pipe->queue, EPOLLIN | EPOLLRDNORM);
    return result;
}

static int64_t put_all(struct file *file, const uint8_t *data, size_t size, bool atomic) {
    struct pipe *pipe = file->object;
    size_t done = 0;
    while (done < size) {
        int64_t put = put_chunk(pipe, data + done, size - done, atomic);
        if (put > 0) {
            done += (size_t)put;
            continue;
        }
        if (put == -EAGAIN)
            put = file_wait_unless_nonblocking(file, &pipe->queue, can_write, pipe);
        if (put)
            return done ? (int64_t)done : put;
    }
    return (int64_t)done;
}

static int ring_allocate(struct pipe *pipe) {
    if (__atomic_load_n(&pipe->ring, __ATOMIC_ACQUIRE))
        return 0;
    uint8_t *ring = heap_alloc(pipe->size);
    if (!ring)
        return -ENOMEM;
    spin_lock(&pipe->lock);
    bool first = !pipe->ring;
    if (first)
        __atomic_store_n(&pipe->ring, ring, __ATOMIC_RELEASE);
    spin_unlock(&pipe->lock);
    if (!first)
        heap_free(ring);
    return 0;
}

static int64_t pipe_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    size_t before = io_remaining(buffer);
    bool atomic = before <= PIPE_BUF;
    struct bounce_buffer bounce;
    if (!before)
        return 0;
    int64_t error = ring_allocate(file->object);
    if (error)
        return error;
    error = bounce_buffer_init(&bounce, before);
    if (error)
        return error;
    while (!error && io_remaining(buffer)) {
        size_t left = io_remaining(buffer);
        size_t chunk = left < bounce.size ? left : bounce.size;
        error = io_copy_from(buffer, bounce.data, chunk);
        chunk = left - io_remaining(buffer);
        if (!chunk || (error && atomic))
            break;
        int64_t put = put_all(file, bounce.data, chunk, atomic);
        if (put < (int64_t)chunk) {
            buffer->remaining = left - (put > 0 ? (size_t)put : 0);
            error = put < 0 ? put : -EAGAIN;
        }
        thread_preemption_point(); // a reader elsewhere may keep it going
        if (thread_interrupted())
            break;
    }
    if (error && atomic)
        buffer->remaining = before;
    bounce_buffer_free(&bounce);
    int64_t result = io_result(buffer, before, error);
    if (result == -EPIPE)
        signal_broken_pipe();
    return result;
}

static unsigned pipe_poll(struct file *file, struct poll_table *table) {
    struct pipe *pipe = file->object;
    poll_wait(table, &pipe->queue);
    unsigned events = 0;
    spin_lock(&pipe->lock);
    if ((file->flags & O_ACCMODE) == O_RDONLY) {
        if (used(pipe))
            events |= EPOLLIN | EPOLLRDNORM;
        if (!pipe->writer)
            events |= EPOLLHUP;
    } else {
        if (pipe->size - used(pipe) >= PIPE_BUF)
            events |= EPOLLOUT | EPOLLWRNORM;
        if (!pipe->reader)
            events |= EPOLLERR;
    }
    spin_unlock(&pipe->lock);
    return events;
}

static int64_t pipe_ioctl(struct file *file, unsigned command, uint64_t argument) {
    struct pipe *pipe = file->object;
    if (command != FIONREAD)
        return -ENOTTY;
    spin_lock(&pipe->lock);
    uint32_t bytes = used(pipe);
    spin_unlock(&pipe->lock);
    return copy_to_user(argument, &bytes, sizeof(bytes));
}

static int pipe_status(struct file *file, struct stat *status) {
    status->st_mode = S_IFIFO | 0600;
    status->st_blksize = PIPE_BUF;
    status->st_nlink = 1;
    return 0;
}

static void pipe_release(struct file *file) {
    struct pipe *pipe = file->object;
    bool reads = (file->flags & O_ACCMODE) == O_RDONLY;
    spin_lock(&pipe->lock);
    if (reads)
        pipe->reader = false;
    else
        pipe->writer = false;
    bool last = !pipe->reader && !pipe->writer;
    if (!last) // under the lock: the other end's release, which frees the pipe, comes after
        wait_queue_wake(&pipe->queue, reads ? EPOLLOUT | EPOLLERR : EPOLLIN | EPOLLHUP);
    spin_unlock(&pipe->lock);
    if (last) {
        heap_free(pipe->ring);
        heap_free(pipe);
    }
}

static const struct file_ops pipe_ops = {
    .name = "pipe",
    .read = pipe_read,
    .write = pipe_write,
    .ioctl = pipe_ioctl,
    .poll = pipe_poll,
    .status = pipe_status,
    .release = pipe_release,
};

static struct pipe *ring_create(void) {
    struct pipe *pipe = heap_new(struct pipe);
    if (!pipe)
        return NULL;
    pipe->size = PIPE_SIZE;
    pipe->reader = pipe->writer = true;
    wait_queue_init(&pipe->queue);
    return pipe;
}

int pipe_create(uint32_t flags, struct file **reader, struct file **writer) {
    struct pipe *pipe = ring_create();
    if (!pipe)
        return -ENOMEM;
    *reader = file_create(&pipe_ops, pipe, flags | O_RDONLY);
    if (!*reader) {
        heap_free(pipe);
        return -ENOMEM;
    }
    *writer = file_create(&pipe_ops, pipe, flags | O_WRONLY);
    if (*writer)
        return 0;
    pipe->writer = false;
    file_put(*reader);
    return -ENOMEM;
}

int64_t pipe_size_command(struct file *file, int command, uint64_t wanted) {
    if (file->ops != &pipe_ops)
        return -EBADF;
    struct pipe *pipe = file->object;
    if (command == F_GETPIPE_SZ)
        return __atomic_load_n(&pipe->size, __ATOMIC_RELAXED);
    if (wanted > PIPE_SIZE_MAX)
        return -EPERM;
    uint32_t size = 4096;
    while (size < wanted)
        size *= 2;
    uint8_t *ring = heap_alloc(size), *old = ring;
    if (!ring)
        return -ENOMEM;
    spin_lock(&pipe->lock);
    int64_t result = size;
    uint32_t bytes = used(pipe);
    if (bytes > size) {
        result = -EBUSY;
    } else {
        if (bytes)
            ring_take(pipe, ring, bytes);
        old = pipe->ring;
        pipe->ring = ring;
        __atomic_store_n(&pipe->size, size, __ATOMIC_RELAXED);
        pipe->tail = 0;
        pipe->head = bytes;
    }
    spin_unlock(&pipe->lock);
    heap_free(old);
    wait_queue_wake(&pipe->queue, EPOLLOUT | EPOLLWRNORM);
    return result;
}

int64_t sys_pipe2(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[1];
    struct file *reader, *writer;
    int fds[2];
    if (flags & ~(O_CLOEXEC | O_NONBLOCK))
        return -EINVAL; // no packet mode (O_DIRECT)
    int error = pipe_create(flags & O_NONBLOCK, &reader, &writer);
    if (error)
        return error;
    fds[0] = fd_install(reader, flags & O_CLOEXEC);
    fds[1] = fd_install(writer, flags & O_CLOEXEC);
    return fd_store_pair(fds, arguments[0]);
}
