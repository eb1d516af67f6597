// SPDX-License-Identifier: BSD-2-Clause
// Waiting inside a file operation.
#include "core/file/blocking.h"
#include <asm/fcntl.h>
#include <linux/errno.h>
#include "core/file/file.h"
#include "core/process/system_call.h"

int file_wait(struct wait_queue *queue, bool (*ready)(void *object), void *object,
              uint64_t deadline) {
    int error = wait_until(queue, ready, object, deadline, wait);
    return error == -EINTR ? -ERESTARTSYS : error;
}

int file_wait_unless_nonblocking(const struct file *file, struct wait_queue *queue,
                                 bool (*ready)(void *object), void *object) {
    return file->flags & O_NONBLOCK ? -EAGAIN : file_wait(queue, ready, object, TIME_NEVER);
}
