// SPDX-License-Identifier: BSD-2-Clause
// Requests are carried out at once, by the thread that submits them.
#define _GNU_SOURCE // fallocate
#include "drivers/block/raw_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct raw_file {
    struct block_device device;
    int fd;
};

// Moves all bytes, however few the file takes at a time.
static int transfer(const struct raw_file *file, const struct block_request *request) {
    struct iovec *piece = request->data;
    unsigned count = request->count;
    off_t offset = (off_t)request->offset;

    while (count) {
        ssize_t done = request->operation == BLOCK_WRITE
                           ? pwritev(file->fd, piece, (int)count, offset)
                           : preadv(file->fd, piece, (int)count, offset);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return done < 0 ? -errno : -EIO;
        offset += done;
        while (count && (size_t)done >= piece->iov_len) {
            done -= (ssize_t)piece->iov_len;
            piece++;
            count--;
        }
        if (count) {
            piece->iov_base = (uint8_t *)piece->iov_base + done;
            piece->iov_len -= (size_t)done;
        }
    }
    return 0;
}

static int clear(const struct raw_file *file, const struct block_request *request) {
    bool unmap = request->operation == BLOCK_DISCARD || request->may_unmap;
    int mode = FALLOC_FL_KEEP_SIZE | (unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);

    if (!request->length)
        return 0;
    return fallocate(file->fd, mode, (off_t)request->offset, (off_t)request->length) < 0 ? -errno
                                                                                         : 0;
}

static void submit(struct block_device *device, struct block_request *request) {
    const struct raw_file *file = (const struct raw_file *)device;
    int error = 0;

    switch (request->operation) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        error = transfer(file, request);
        break;
    case BLOCK_FLUSH:
        error = fdatasync(file->fd) < 0 ? -errno : 0;
        break;
    case BLOCK_DISCARD:
    case BLOCK_WRITE_ZEROES:
        error = clear(file, request);
        break;
    }
    request->done(request, error);
}

static int find_size(const struct raw_file *file, uint64_t *size) {
    struct stat status;

    if (fstat(file->fd, &status) < 0)
        return -errno;
    *size = (uint64_t)status.st_size;
    if (S_ISBLK(status.st_mode) && ioctl(file->fd, BLKGETSIZE64, size) < 0)
        return -errno;
    return *size % BLOCK_SECTOR_SIZE ? -EINVAL : 0;
}

struct block_device *raw_file_open(const char *path, bool read_only, int fd) {
    struct raw_file *file = calloc(1, sizeof(*file));
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    uint64_t size = 0;

    if (!file)
        return NULL;
    file->fd = fd >= 0 ? fd : open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
    int error = file->fd < 0 ? -errno : find_size(file, &size);
    if (error) {
        if (file->fd >= 0)
            close(file->fd);
        free(file);
        errno = -error;
        return NULL;
    }
    file->device = (struct block_device){.sectors = size / BLOCK_SECTOR_SIZE,
                                         .logical_block = BLOCK_SECTOR_SIZE,
                                         .physical_block = BLOCK_SECTOR_SIZE,
                                         .read_only = read_only,
                                         .discards = !read_only,
                                         .submit = submit};
    memcpy(file->device.id, name, strnlen(name, BLOCK_ID_SIZE));
    return &file->device;
}

void raw_file_close(struct block_device *device) {
    close(((struct raw_file *)device)->fd);
    free(device);
}
