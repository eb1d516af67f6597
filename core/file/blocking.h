// SPDX-License-Identifier: BSD-2-Clause
// Waiting inside a file operation.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/wait.h"

struct file;

// Blocks until ready(object), called without locks, is true. 0, -ERESTARTSYS (signal) or
// -ETIMEDOUT. deadline: ns, time_now() scale.
int file_wait(struct wait_queue *queue, bool (*ready)(void *object), void *object,
              uint64_t deadline);

// The same for a read or write of the file, without a deadline: -EAGAIN if it is not to wait.
int file_wait_unless_nonblocking(const struct file *file, struct wait_queue *queue,
                                 bool (*ready)(void *object), void *object);
