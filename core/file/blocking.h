// SPDX-License-Identifier: BSD-2-Clause
// Waiting inside a file operation.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/wait.h"

// Blocks until ready(object), called without locks, is true. 0, -ERESTARTSYS (signal) or
// -ETIMEDOUT. deadline: ns, time_now() scale.
int file_wait(struct wait_queue *queue, bool (*ready)(void *object), void *object,
              uint64_t deadline);
