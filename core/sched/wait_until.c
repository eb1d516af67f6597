// SPDX-License-Identifier: BSD-2-Clause
// The loop of those who wait on one queue for one condition.

#include "core/sched/wait.h"

int wait_until(struct wait_queue *queue, bool (*ready)(void *object), void *object,
               uint64_t deadline, int (*how)(uint64_t deadline)) {
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
        error = how(deadline);
        waiter_remove(&waiter);
    }
    waiter_remove(&waiter);
    return error;
}
