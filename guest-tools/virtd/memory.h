// SPDX-License-Identifier: BSD-2-Clause
// Memory that is there: a virtd without memory ends, is started again and finds its domains.
#pragma once

#include <stdarg.h>
#include <stddef.h>

void *allocate(size_t size); // zeroed
void *reallocate(void *memory, size_t size);
char *copy_string(const char *text); // NULL gives NULL
char *print_string(const char *format, ...) __attribute__((format(printf, 1, 2)));
