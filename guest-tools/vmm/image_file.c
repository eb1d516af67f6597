// SPDX-License-Identifier: BSD-2-Clause
// Opening and exact reading of image files.
#include "image_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "error.h"

void image_file_open(struct image_file *file, const char *path, const char *what) {
    struct stat status;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        fatal_errno("cannot open %s %s", what, path);
    }
    if (fstat(fd, &status) < 0) {
        fatal_errno("cannot examine %s %s", what, path);
    }
    if (!S_ISREG(status.st_mode)) {
        fatal("%s %s is no regular file", what, path);
    }
    if (status.st_size == 0) {
        fatal("%s %s is empty", what, path);
    }
    *file =
        (struct image_file){.path = path, .what = what, .fd = fd, .size = (uint64_t)status.st_size};
}

void image_file_close(struct image_file *file) {
    close(file->fd);
    file->fd = -1;
}

void image_file_read(const struct image_file *file, uint64_t offset, void *buffer,
                     uint64_t length) {
    uint8_t *next = buffer;

    while (length > 0) {
        ssize_t got = pread(file->fd, next, length, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            fatal_errno("cannot read %s %s", file->what, file->path);
        }
        if (got == 0) {
            fatal("%s %s is cut off at byte %llu", file->what, file->path,
                  (unsigned long long)offset);
        }
        next += got;
        offset += (uint64_t)got;
        length -= (uint64_t)got;
    }
}
