// SPDX-License-Identifier: BSD-2-Clause
// Messages of the monitor, each written by one call so that threads do not mix their lines.
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

void warning(const char *format, ...) {
    va_list args;

    va_start(args, format);
    print_message(format, args, NULL);
    va_end(args);
}
