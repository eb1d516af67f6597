// SPDX-License-Identifier: BSD-2-Clause
// The memory devices: null, zero, full, random, urandom (mem(4), random(4)).
#include "core/file/device.h"
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/kdev_t.h>
#include "core/file/file.h"
#include "core/file/io_buffer.h"
#include "core/mm/memory_object.h"
#include "core/process/random.h"
#include "core/sched/thread.h"
#include "core/string.h"

#define KEPT_FLAGS (O_ACCMODE | O_NONBLOCK | O_APPEND)

static const struct file_ops random_ops;

static int64_t null_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    return 0;
}

static int64_t null_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    int64_t size = (int64_t)io_remaining(buffer);
    buffer->remaining = 0;
    return size;
}

static int64_t full_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    return io_remaining(buffer) ? -ENOSPC : 0;
}

// Fills the buffer with zeros or with random bytes.
static int64_t endless_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    size_t before = io_remaining(buffer);
    uint8_t bytes[512] = {0};
    int error = 0;
    while (!error && io_remaining(buffer)) {
        size_t left = io_remaining(buffer);
        size_t chunk = left < sizeof(bytes) ? left : sizeof(bytes);
        if (file->ops == &random_ops)
            random_bytes(bytes, chunk);
        error = io_copy_to(buffer, bytes, chunk);
        thread_preemption_point();
        if (!error && io_remaining(buffer) && thread_interrupted())
            break;
    }
    memset(bytes, 0, sizeof(bytes));
    return io_result(buffer, before, error);
}

static int64_t device_seek(struct file *file, int64_t offset, int whence) {
    if (whence != SEEK_SET && whence != SEEK_CUR && whence != SEEK_END)
        return -EINVAL;
    return 0;
}

// Anonymous memory by another name, shared or private.
static int zero_map(struct file *file, uint64_t offset, uint64_t size, int prot, int flags,
                    struct memory_object **object, uint64_t *object_offset) {
    struct memory_object *memory = shared_memory_create(false);
    int error = memory ? shared_memory_resize(memory, size) : -ENOMEM;
    if (error) {
        if (memory)
            memory_object_put(memory);
        return error;
    }
    *object = memory;
    *object_offset = 0;
    return 0;
}

static const struct file_ops null_ops = {
    .name = "null", .read = null_read, .write = null_write, .seek = device_seek};
static const struct file_ops zero_ops = {.name = "zero",
                                         .read = endless_read,
                                         .write = null_write,
                                         .seek = device_seek,
                                         .map = zero_map};
static const struct file_ops full_ops = {
    .name = "full", .read = endless_read, .write = full_write, .seek = device_seek};
static const struct file_ops random_ops = {
    .name = "random", .read = endless_read, .write = null_write, .seek = device_seek};

static struct file *memory_open(void *ops, int flags, int *error) {
    struct file *file = file_create(ops, NULL, (uint32_t)flags & KEPT_FLAGS);
    *error = file ? 0 : -ENOMEM;
    return file;
}

// Numbers of Linux' devices.txt.
void devices_init(void) {
    device_register("/dev/null", MKDEV(1, 3), memory_open, (void *)&null_ops);
    device_register("/dev/zero", MKDEV(1, 5), memory_open, (void *)&zero_ops);
    device_register("/dev/full", MKDEV(1, 7), memory_open, (void *)&full_ops);
    device_register("/dev/random", MKDEV(1, 8), memory_open, (void *)&random_ops);
    device_register("/dev/urandom", MKDEV(1, 9), memory_open, (void *)&random_ops);
    device_register("/dev/console", MKDEV(5, 1), console_open, NULL);
    device_register("/dev/tty", MKDEV(5, 0), console_open, NULL);
    device_register("/dev/ttyS1", MKDEV(4, 65), serial_open, NULL);
}
