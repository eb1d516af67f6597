// SPDX-License-Identifier: BSD-2-Clause
// Allocation that ends the program where there is no memory.
#define _GNU_SOURCE
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *need(void *memory) {
    if (!memory) {
        fputs("virtd: out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

void *allocate(size_t size) {
    return need(calloc(1, size ? size : 1));
}

void *reallocate(void *memory, size_t size) {
    return need(realloc(memory, size ? size : 1));
}

char *copy_string(const char *text) {
    return text ? need(strdup(text)) : NULL;
}

char *print_string(const char *format, ...) {
    char *text = NULL;
    va_list args;

    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
    }
    va_end(args);
    return need(text);
}
