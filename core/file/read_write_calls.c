// SPDX-License-Identifier: BSD-2-Clause
// read, write and their vector and positioned forms; lseek.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/fs.h>

#include "core/file/file.h"
#include "core/file/io_buffer.h"
#include "core/process/system_call.h"

enum direction { READ, WRITE };

// offset: that of a positioned form; NULL: from where the file is, which moves on.
static int check(const struct file *file, enum direction direction, const uint64_t *offset) {
    unsigned mode = file->flags & O_ACCMODE;
    if (mode != O_RDWR && mode != (direction == READ ? O_RDONLY : O_WRONLY))
        return -EBADF;
    if (!offset)
        return 0;
    return (int64_t)*offset < 0 ? -EINVAL : file->ops->seek ? 0 : -ESPIPE;
}

static int64_t transfer(struct file *file, enum direction direction, struct io_buffer *buffer,
                        const uint64_t *offset) {
    uint64_t at = offset ? *offset : atomic_load(&file->offset);
    int64_t (*method)(struct file *, struct io_buffer *, uint64_t *) =
        direction == READ ? file->ops->read : file->ops->write;
    int64_t result = method ? method(file, buffer, &at) : -EINVAL;
    if (result > 0 && !offset)
        atomic_store(&file->offset, at + (uint64_t)result);
    return result;
}

static int64_t transfer_single(struct file *file, const uint64_t *arguments,
                               enum direction direction, const uint64_t *offset) {
    struct io_buffer buffer;
    int error = check(file, direction, offset);
    if (!error)
        error = io_buffer_user(&buffer, arguments[1], arguments[2]);
    return error ? error : transfer(file, direction, &buffer, offset);
}

int64_t file_read(struct file *file, const uint64_t *arguments) {
    return transfer_single(file, arguments, READ, NULL);
}

int64_t file_write(struct file *file, const uint64_t *arguments) {
    return transfer_single(file, arguments, WRITE, NULL);
}

int64_t file_pread64(struct file *file, const uint64_t *arguments) {
    return transfer_single(file, arguments, READ, &arguments[3]);
}

int64_t file_pwrite64(struct file *file, const uint64_t *arguments) {
    return transfer_single(file, arguments, WRITE, &arguments[3]);
}

static int64_t transfer_vector(struct file *file, const uint64_t *arguments,
                               enum direction direction, const uint64_t *offset) {
    struct io_vector vector;
    struct io_buffer buffer;
    int64_t result = check(file, direction, offset);
    if (!result)
        result = io_vector_load(&vector, arguments[1], arguments[2]);
    if (result)
        return result;
    io_buffer_vector(&buffer, vector.pieces, vector.count);
    if (io_remaining(&buffer))
        result = transfer(file, direction, &buffer, offset);
    io_vector_free(&vector);
    return result;
}

// The offset's halves are arguments 3 and 4, but on 64-bit machines the low one holds it all.
int64_t file_preadv(struct file *file, const uint64_t *arguments) {
    return transfer_vector(file, arguments, READ, &arguments[3]);
}

int64_t file_pwritev(struct file *file, const uint64_t *arguments) {
    return transfer_vector(file, arguments, WRITE, &arguments[3]);
}

static int64_t transfer_vector_2(struct file *file, const uint64_t *arguments,
                                 enum direction direction) {
    // Hints on when it is done and stored: at once, here.
    if (arguments[5] & ~(uint64_t)(RWF_HIPRI | RWF_DSYNC | RWF_SYNC))
        return -EOPNOTSUPP;
    return transfer_vector(file, arguments, direction,
                           arguments[3] == UINT64_MAX ? NULL : &arguments[3]);
}

int64_t file_preadv2(struct file *file, const uint64_t *arguments) {
    return transfer_vector_2(file, arguments, READ);
}

int64_t file_pwritev2(struct file *file, const uint64_t *arguments) {
    return transfer_vector_2(file, arguments, WRITE);
}

int64_t file_lseek(struct file *file, const uint64_t *arguments) {
    if (!file->ops->seek)
        return -ESPIPE;
    return file->ops->seek(file, (int64_t)arguments[1], (int)arguments[2]);
}
