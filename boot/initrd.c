// SPDX-License-Identifier: BSD-2-Clause
// Checks that the initrd is a whole newc archive, so that a damaged one is named before firmware is
// left behind.
#include "boot/initrd.h"
#include "core/file/cpio.h"
#include "core/string.h"

const char *initrd_check(const uint8_t *archive, size_t size, size_t *offset) {
    struct cpio_reader reader;
    struct cpio_entry entry = {.name = ""};
    int result;
    cpio_open(&reader, archive, size);
    do
        result = cpio_next(&reader, &entry);
    while (result > 0);
    *offset = reader.offset;
    if (result < 0)
        return *offset ? "damaged or truncated: no whole cpio entry where one must be"
                       : "not a cpio archive (newc, magic 070701)";
    return strcmp(entry.name, "TRAILER!!!") ? "truncated: no TRAILER!!! entry" : NULL;
}
