// SPDX-License-Identifier: BSD-2-Clause
// Growing buffers.
#define _GNU_SOURCE
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

uint8_t *buffer_room(struct buffer *buffer, size_t length) {
    if (buffer->size - buffer->length < length) {
        size_t size = buffer->size ? 2 * buffer->size : 256;
        while (size - buffer->length < length) {
            size *= 2;
        }
        buffer->data = reallocate(buffer->data, size);
        buffer->size = size;
    }
    return buffer->data + buffer->length;
}

void buffer_append(struct buffer *buffer, const void *data, size_t length) {
    if (length) {
        memcpy(buffer_room(buffer, length), data, length);
        buffer->length += length;
    }
}

void buffer_print(struct buffer *buffer, const char *format, ...) {
    char *text = NULL;
    va_list args;

    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length > 0) {
        buffer_append(buffer, text, (size_t)length);
        free(text);
    }
}

void buffer_consume(struct buffer *buffer, size_t length) {
    buffer->length -= length;
    memmove(buffer->data, buffer->data + length, buffer->length);
    if (buffer->length == 0) {
        buffer_free(buffer);
    }
}

void buffer_free(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

char *buffer_take_string(struct buffer *buffer) {
    buffer_append(buffer, "", 1);
    char *text = (char *)buffer->data;
    *buffer = (struct buffer){0};
    return text;
}
