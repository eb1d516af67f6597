// SPDX-License-Identifier: BSD-2-Clause
// The wait loop of every blocking file operation.
#include "core/file/blocking.h"
#include <linux/errno.h>
#include "core/process/system_call.h"

int file_wait(struct wait_queue *queue, bool (*ready)(void *object), void *object,
              uint64_t deadline) {
    if (ready(object))
        return 0;
    struct waiter waiter;
    waiter_init(&waiter);
    int error = 0;
    while (!error) {
        waiter_add(&waiter, queue);
        if (ready(object)) {
            wait_cancel();
            break;
        }
        error = wait(deadline);
        waiter_remove(&waiter);
    }
    waiter_remove(&waiter);
    return error == -EINTR ? -ERESTARTSYS : error;
}
