// SPDX-License-Identifier: BSD-2-Clause
// Messages of the monitor, each written by one call so that threads do not mix their lines.
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WARNINGS_AT_ONCE 100u
#define WARNING_SECONDS  10u // for each one more

static void print_message(const char *format, va_list args, const char *reason) {
    char line[512];
    size_t used = (size_t)snprintf(line, sizeof(line), "vmm: ");
    int length = vsnprintf(line + used, sizeof(line) - used - 1, format, args);

    used += length < 0 ? 0 : (size_t)length;
    if (used > sizeof(line) - 3) {
        used = sizeof(line) - 3;
    }
    if (reason) {
        length = snprintf(line + used, sizeof(line) - used - 2, ": %s", reason);
        used += length < 0 ? 0 : (size_t)length;
        if (used > sizeof(line) - 3) {
            used = sizeof(line) - 3;
        }
    }
    // The terminal may be in raw mode, where a newline alone does not return the carriage.
    if (isatty(STDERR_FILENO)) {
        line[used++] = '\r';
    }
    line[used++] = '\n';
    if (write(STDERR_FILENO, line, used) < 0) {
        return; // Nobody is left to tell.
    }
}

void fatal(const char *format, ...) {
    va_list args;

    va_start(args, format);
    print_message(format, args, NULL);
    va_end(args);
    exit(1);
}

void fatal_errno(const char *format, ...) {
    const char *reason = strerror(errno);
    va_list args;

    va_start(args, format);
    print_message(format, args, reason);
    va_end(args);
    exit(1);
}

// A guest may cause as many as it likes, and the log is in the host's memory.
static bool is_too_much(void) {
    static uint64_t first, count; // the first one's second, never 0
    struct timespec now;
    uint64_t none = 0;

    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t second = (uint64_t)now.tv_sec + 1;
    __atomic_compare_exchange_n(&first, &none, second, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    uint64_t most =
        WARNINGS_AT_ONCE + (second - __atomic_load_n(&first, __ATOMIC_SEQ_CST)) / WARNING_SECONDS;
    return __atomic_load_n(&count, __ATOMIC_SEQ_CST) >= most ||
           __atomic_fetch_add(&count, 1, __ATOMIC_SEQ_CST) >= most;
}

void warning(const char *format, ...) {
    va_list args;

    if (is_too_much()) {
        return;
    }
    va_start(args, format);
    print_message(format, args, NULL);
    va_end(args);
}
