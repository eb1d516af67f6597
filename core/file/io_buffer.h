// SPDX-License-Identifier: BSD-2-Clause
// The caller's buffers of a read or write, and the bounce buffer that carries bytes between them
// and locked objects.
#pragma once
#include <linux/uio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/file/file.h"

// The most one call transfers (Linux's MAX_RW_COUNT: INT_MAX rounded down to a page).
#define IO_MAX_BYTES 0x7ffff000ul

struct io_buffer {
    const struct iovec *piece; // the current one
    size_t pieces;             // left, the current one included
    size_t consumed;           // bytes of the current one already used
    size_t remaining;          // bytes left in all
    struct iovec single;
};

// At most IO_MAX_BYTES of it. 0, -EINVAL (a negative size), -EFAULT (beyond user space).
int io_buffer_user(struct io_buffer *buffer, uint64_t address, size_t size);
// `pieces` stay the caller's and must outlive the buffer. Their sum must have been checked
// (io_vector_load).
void io_buffer_vector(struct io_buffer *buffer, const struct iovec *pieces, size_t count);
// The result of a transfer that began with `before` bytes remaining: bytes done, else the error.
int64_t io_result(const struct io_buffer *buffer, size_t before, int64_t error);

// An iovec array copied from user memory and checked as Linux does (at most UIO_MAXIOV pieces, no
// length over SSIZE_MAX, ranges in user space, sum cut to IO_MAX_BYTES).
struct io_vector {
    struct iovec *pieces;
    size_t count;
    struct iovec few[8]; // UIO_FASTIOV: no allocation for these
};

int io_vector_load(struct io_vector *vector, uint64_t address, uint64_t count); // 0 or -errno
void io_vector_free(struct io_vector *vector);

// Kernel memory between a user copy (no lock held) and an object's lock. Small ones lie on the
// stack.
struct bounce_buffer {
    uint8_t *data;
    size_t size; // usable bytes; at least PIPE_BUF where that many were asked for
    uint64_t page;
    uint8_t few[256];
};

int bounce_buffer_init(struct bounce_buffer *bounce, size_t wanted); // 0 or -ENOMEM
void bounce_buffer_free(struct bounce_buffer *bounce);
