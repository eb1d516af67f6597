// SPDX-License-Identifier: BSD-2-Clause
// read, write and their vector and positioned forms; lseek.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/fs.h>
#include "core/file/file.h"
#include "core/file/io_buffer.h"
#include "core/mm/address_space.h"
#include "core/process/system_call.h"

enum transfer { TRANSFER_READ, TRANSFER_WRITE };

static int64_t invoke(struct file *file, enum transfer transfer, struct io_buffer *buffer,
                      uint64_t *offset) {
    if (transfer == TRANSFER_READ)
        return file->ops->read ? file->ops->read(file, buffer, offset) : -EINVAL;
    return file->ops->write ? file->ops->write(file, buffer, offset) : -EINVAL;
}

// -EBADF unless the fd is open for this direction.
static struct file *get_for(int fd, enum transfer transfer, int64_t *error) {
    struct file *file = fd_get(fd);
    *error = -EBADF;
    if (!file)
        return NULL;
    unsigned refused = transfer == TRANSFER_READ ? O_WRONLY : O_RDONLY;
    if ((file->flags & O_ACCMODE) != refused && !(file->flags & O_PATH))
        return file;
    file_put(file);
    return NULL;
}

static int64_t transfer_single(const uint64_t *arguments, enum transfer transfer,
                               uint64_t *offset) {
    int64_t error;
    struct file *file = get_for((int)arguments[0], transfer, &error);
    if (!file)
        return error;
    uint64_t address = arguments[1], size = arguments[2];
    struct io_buffer buffer;
    int64_t result;
    if ((int64_t)size < 0)
        result = -EINVAL;
    else if (address > USER_END || size > USER_END - address)
        result = -EFAULT;
    else if (offset && !file->ops->seek)
        result = -ESPIPE;
    else {
        io_buffer_user(&buffer, address, size < IO_MAX_BYTES ? size : IO_MAX_BYTES);
        result = invoke(file, transfer, &buffer, offset);
    }
    file_put(file);
    return result;
}

int64_t sys_read(const uint64_t *arguments) {
    return transfer_single(arguments, TRANSFER_READ, NULL);
}

int64_t sys_write(const uint64_t *arguments) {
    return transfer_single(arguments, TRANSFER_WRITE, NULL);
}

int64_t sys_pread64(const uint64_t *arguments) {
    uint64_t offset = arguments[3];
    return (int64_t)offset < 0 ? -EINVAL : transfer_single(arguments, TRANSFER_READ, &offset);
}

int64_t sys_pwrite64(const uint64_t *arguments) {
    uint64_t offset = arguments[3];
    return (int64_t)offset < 0 ? -EINVAL : transfer_single(arguments, TRANSFER_WRITE, &offset);
}

static int64_t transfer_vector(const uint64_t *arguments, enum transfer transfer,
                               uint64_t *offset) {
    int64_t result;
    struct file *file = get_for((int)arguments[0], transfer, &result);
    if (!file)
        return result;
    struct io_vector vector;
    result = offset && !file->ops->seek ? -ESPIPE : 0;
    if (!result)
        result = io_vector_load(&vector, arguments[1], arguments[2]);
    if (!result) {
        struct io_buffer buffer;
        io_buffer_vector(&buffer, vector.pieces, vector.count);
        if (io_remaining(&buffer))
            result = invoke(file, transfer, &buffer, offset);
        io_vector_free(&vector);
    }
    file_put(file);
    return result;
}

int64_t sys_readv(const uint64_t *arguments) {
    return transfer_vector(arguments, TRANSFER_READ, NULL);
}

int64_t sys_writev(const uint64_t *arguments) {
    return transfer_vector(arguments, TRANSFER_WRITE, NULL);
}

// The offset's halves are arguments 3 and 4, but on 64-bit machines the low one holds it all.
int64_t sys_preadv(const uint64_t *arguments) {
    uint64_t offset = arguments[3];
    return (int64_t)offset < 0 ? -EINVAL : transfer_vector(arguments, TRANSFER_READ, &offset);
}

int64_t sys_pwritev(const uint64_t *arguments) {
    uint64_t offset = arguments[3];
    return (int64_t)offset < 0 ? -EINVAL : transfer_vector(arguments, TRANSFER_WRITE, &offset);
}

static int64_t transfer_vector_2(const uint64_t *arguments, enum transfer transfer) {
    uint64_t offset = arguments[3];
    // Hints on when it is done and stored: at once, here.
    if (arguments[5] & ~(uint64_t)(RWF_HIPRI | RWF_DSYNC | RWF_SYNC))
        return -EOPNOTSUPP;
    if ((int64_t)offset < -1)
        return -EINVAL;
    return transfer_vector(arguments, transfer, offset == UINT64_MAX ? NULL : &offset);
}

int64_t sys_preadv2(const uint64_t *arguments) {
    return transfer_vector_2(arguments, TRANSFER_READ);
}

int64_t sys_pwritev2(const uint64_t *arguments) {
    return transfer_vector_2(arguments, TRANSFER_WRITE);
}

int64_t sys_lseek(const uint64_t *arguments) {
    struct file *file = fd_get((int)arguments[0]);
    if (!file)
        return -EBADF;
    int64_t result = -ESPIPE;
    if (file->flags & O_PATH)
        result = -EBADF;
    else if (file->ops->seek)
        result = file->ops->seek(file, (int64_t)arguments[1], (int)arguments[2]);
    file_put(file);
    return result;
}
