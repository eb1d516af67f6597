// SPDX-License-Identifier: BSD-2-Clause
// The kernel's log: one line a call.
#include "core/log.h"

enum { LINE_SIZE = 256 };

void log_line(const char *format, ...) {
    char line[LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int length = format_string_v(line, LINE_SIZE - 2, format, arguments);
    va_end(arguments);
    if (length > LINE_SIZE - 3)
        length = LINE_SIZE - 3;
    line[length++] = '\r';
    line[length++] = '\n';
    console_write(line, (size_t)length);
}
