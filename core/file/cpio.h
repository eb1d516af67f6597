// SPDX-License-Identifier: BSD-2-Clause
// cpio archives in the "newc" format (magic 070701 and 070702), read in place.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpio_reader {
    const uint8_t *archive;
    size_t size;   // bytes
    size_t offset; // of the next header
};

struct cpio_entry {
    const char *name;   // NUL-terminated inside the archive
    size_t name_length; // without NUL
    const uint8_t *data;
    uint32_t size; // bytes of data
    uint32_t inode, mode, links, modified, device_major, device_minor, rdev_major, rdev_minor;
};

void cpio_open(struct cpio_reader *reader, const void *archive, size_t size);
// 1: *entry is filled; 0: the trailer (or padding to the end) was met; -EINVAL: damaged, *reader
// stands at the bad header.
int cpio_next(struct cpio_reader *reader, struct cpio_entry *entry);
