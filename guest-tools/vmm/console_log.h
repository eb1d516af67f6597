// SPDX-License-Identifier: BSD-2-Clause
// The last of what a console has shown, for those who attach to it at any time.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONSOLE_LOG_SIZE (64u << 10)

struct console_log {
    uint64_t end; // bytes ever shown
    uint8_t ring[CONSOLE_LOG_SIZE];
};

// Takes over what waits in fd, which does not block. False: nothing more will come.
bool console_log_take(struct console_log *log, int fd);

// Where a reader begins.
uint64_t console_log_start(const struct console_log *log);

// Sends a reader on the socket fd what it has not seen, as much as goes without waiting; one that
// is more than the log's size behind misses some. False: it is gone.
bool console_log_send(const struct console_log *log, int fd, uint64_t *position);
