// SPDX-License-Identifier: BSD-2-Clause
// Copies between files and the caller's scattered buffers.
#include "core/file/io_buffer.h"
#include <linux/errno.h>
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"

int io_buffer_user(struct io_buffer *buffer, uint64_t address, size_t size) {
    if ((int64_t)size < 0)
        return -EINVAL;
    if (address > USER_END || size > USER_END - address)
        return -EFAULT;
    size = size < IO_MAX_BYTES ? size : IO_MAX_BYTES;
    buffer->single.iov_base = (void *)(uintptr_t)address;
    buffer->single.iov_len = size;
    buffer->piece = &buffer->single;
    buffer->pieces = 1;
    buffer->consumed = 0;
    buffer->remaining = size;
    return 0;
}

void io_buffer_vector(struct io_buffer *buffer, const struct iovec *pieces, size_t count) {
    buffer->piece = pieces;
    buffer->pieces = count;
    buffer->consumed = 0;
    buffer->remaining = 0;
    for (size_t i = 0; i < count; i++)
        buffer->remaining += pieces[i].iov_len;
}

size_t io_remaining(const struct io_buffer *buffer) {
    return buffer->remaining;
}

int64_t io_result(const struct io_buffer *buffer, size_t before, int64_t error) {
    size_t done = before - buffer->remaining;
    return done ? (int64_t)done : error;
}

enum direction { TO_CALLER, FROM_CALLER };

static int copy_bytes(uint64_t address, uint8_t *data, size_t size, enum direction direction) {
    return direction == TO_CALLER ? copy_to_user(address, data, size)
                                  : copy_from_user(data, address, size);
}

static void advance(struct io_buffer *buffer, size_t size) {
    buffer->consumed += size;
    buffer->remaining -= size;
}

// Finds out how far a copy that failed could go: whole pages of the caller's, up to the one that is
// not there.
static void copy_up_to_fault(struct io_buffer *buffer, uint8_t *data, size_t size,
                             enum direction direction) {
    uint64_t address = (uintptr_t)buffer->piece->iov_base + buffer->consumed;
    while (size) {
        size_t chunk = PAGE_SIZE - (address & ~PAGE_MASK);
        if (chunk > size)
            chunk = size;
        if (copy_bytes(address, data, chunk, direction))
            return;
        advance(buffer, chunk);
        address += chunk;
        size -= chunk;
        data += chunk;
    }
}

static int transfer(struct io_buffer *buffer, uint8_t *data, size_t size,
                    enum direction direction) {
    while (size) {
        while (buffer->pieces && buffer->consumed == buffer->piece->iov_len) {
            buffer->piece++;
            buffer->pieces--;
            buffer->consumed = 0;
        }
        if (!buffer->pieces)
            return -EFAULT;
        size_t chunk = buffer->piece->iov_len - buffer->consumed;
        if (chunk > size)
            chunk = size;
        uint64_t address = (uintptr_t)buffer->piece->iov_base + buffer->consumed;
        if (copy_bytes(address, data, chunk, direction)) {
            copy_up_to_fault(buffer, data, chunk, direction);
            return -EFAULT;
        }
        advance(buffer, chunk);
        size -= chunk;
        data += chunk;
    }
    return 0;
}

int io_copy_to(struct io_buffer *buffer, const void *from, size_t size) {
    return transfer(buffer, (uint8_t *)(uintptr_t)from, size, TO_CALLER);
}

int io_copy_from(struct io_buffer *buffer, void *to, size_t size) {
    return transfer(buffer, to, size, FROM_CALLER);
}

static int vector_check(struct io_vector *vector) {
    size_t sum = 0;
    for (size_t i = 0; i < vector->count; i++) {
        struct iovec *piece = &vector->pieces[i];
        if ((int64_t)piece->iov_len < 0)
            return -EINVAL;
        uint64_t base = (uintptr_t)piece->iov_base;
        if (piece->iov_len && (base >= USER_END || piece->iov_len > USER_END - base))
            return -EFAULT;
        if (piece->iov_len > IO_MAX_BYTES - sum)
            piece->iov_len = IO_MAX_BYTES - sum;
        sum += piece->iov_len;
    }
    return 0;
}

int io_vector_load(struct io_vector *vector, uint64_t address, uint64_t count) {
    if (count > UIO_MAXIOV)
        return -EINVAL;
    vector->pieces = vector->few;
    vector->count = count;
    if (count > sizeof(vector->few) / sizeof(vector->few[0])) {
        vector->pieces = heap_alloc(count * sizeof(struct iovec));
        if (!vector->pieces)
            return -ENOMEM;
    }
    int error = copy_from_user(vector->pieces, address, count * sizeof(struct iovec));
    if (!error)
        error = vector_check(vector);
    if (error)
        io_vector_free(vector);
    return error;
}

void io_vector_free(struct io_vector *vector) {
    if (vector->pieces != vector->few)
        heap_free(vector->pieces);
}

int bounce_buffer_init(struct bounce_buffer *bounce, size_t wanted) {
    bounce->page = PHYSICAL_NONE;
    bounce->data = bounce->few;
    bounce->size = sizeof(bounce->few);
    if (wanted <= sizeof(bounce->few))
        return 0;
    bounce->page = page_alloc(0);
    if (bounce->page == PHYSICAL_NONE)
        return -ENOMEM;
    bounce->data = page_to_virtual(bounce->page);
    bounce->size = PAGE_SIZE;
    return 0;
}

void bounce_buffer_free(struct bounce_buffer *bounce) {
    if (bounce->page != PHYSICAL_NONE)
        page_put(bounce->page);
}
