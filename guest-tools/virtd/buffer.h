// SPDX-License-Identifier: BSD-2-Clause
// Bytes that grow at the end and are consumed at the front.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *data;
    size_t length, size;
};

// Room for `length` more bytes behind the last one; they count once `length` is raised.
uint8_t *buffer_room(struct buffer *buffer, size_t length);
void buffer_append(struct buffer *buffer, const void *data, size_t length);
void buffer_print(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void buffer_consume(struct buffer *buffer, size_t length);
void buffer_free(struct buffer *buffer);
// The bytes as a string, which the caller frees; the buffer is empty then.
char *buffer_take_string(struct buffer *buffer);
