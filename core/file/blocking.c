// SPDX-License-Identifier: BSD-2-Clause
// Waiting inside a file operation.
#include "core/file/blocking.h"
#include <linux/errno.h>
#include "core/process/system_call.h"

int file_wait(struct wait_queue *queue, bool (*ready)(void *object), void *object,
              uint64_t deadline) {
    int error = wait_until(queue, ready, object, deadline, wait);
    return error == -EINTR ? -ERESTARTSYS : error;
}
