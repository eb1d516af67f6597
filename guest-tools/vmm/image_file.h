// SPDX-License-Identifier: BSD-2-Clause
// A kernel or initrd file, read straight into guest memory.
#pragma once

#include <stdint.h>

struct image_file {
    const char *path;
    const char *what; // "kernel" or "initrd", for messages
    int fd;
    uint64_t size;
};

// Opens a regular file; exits with a message naming it where that fails or it is empty.
void image_file_open(struct image_file *file, const char *path, const char *what);

void image_file_close(struct image_file *file);

// Reads exactly length bytes from offset; a shorter file is a fatal error.
void image_file_read(const struct image_file *file, uint64_t offset, void *buffer, uint64_t length);
