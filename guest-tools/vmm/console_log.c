// SPDX-License-Identifier: BSD-2-Clause
// A ring that readers have positions in.
#include "console_log.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static size_t contiguous(uint64_t position) {
    return CONSOLE_LOG_SIZE - position % CONSOLE_LOG_SIZE;
}

bool console_log_take(struct console_log *log, int fd) {
    ssize_t got;

    while ((got = read(fd, log->ring + log->end % CONSOLE_LOG_SIZE, contiguous(log->end))) > 0) {
        log->end += (uint64_t)got;
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR);
}

uint64_t console_log_start(const struct console_log *log) {
    return log->end > CONSOLE_LOG_SIZE ? log->end - CONSOLE_LOG_SIZE : 0;
}

bool console_log_send(const struct console_log *log, int fd, uint64_t *position) {
    if (*position < console_log_start(log)) {
        *position = console_log_start(log);
    }
    while (*position < log->end) {
        size_t size = contiguous(*position);

        if (size > log->end - *position) {
            size = log->end - *position;
        }
        ssize_t sent =
            send(fd, log->ring + *position % CONSOLE_LOG_SIZE, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        *position += (uint64_t)sent;
    }
    return true;
}
