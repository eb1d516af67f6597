// SPDX-License-Identifier: BSD-2-Clause
// Checks that the initrd is a whole newc archive, so that a damaged one is named before firmware is
// left behind.
#include "boot/initrd.h"
#include <stdbool.h>

// The newc header: the magic and 13 fields of 8 hexadecimal digits (cpio(5)).
#define HEADER_SIZE    110
#define FIELD_FILESIZE 6
#define FIELD_NAMESIZE 11

static const char magic[] = "070701";
static const char trailer[] = "TRAILER!!!";

static bool parse_field(const uint8_t *header, unsigned field, uint32_t *value) {
    const uint8_t *digits = header + 6 + field * 8;
    *value = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint8_t c = digits[i];
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = c - '0';
        else if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10u;
        else if (c >= 'A' && c <= 'F')
            digit = c - 'A' + 10u;
        else
            return false;
        *value = *value << 4 | digit;
    }
    return true;
}

static bool bytes_are(const uint8_t *bytes, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != (uint8_t)text[i])
            return false;
    }
    return true;
}

const char *initrd_check(const uint8_t *archive, size_t size, size_t *offset) {
    size_t at = 0;
    for (;;) {
        *offset = at;
        if (size - at < HEADER_SIZE)
            return at == 0 ? "too short for a cpio archive" : "truncated: no TRAILER!!! entry";
        const uint8_t *header = archive + at;
        uint32_t file_size, name_size;
        if (!bytes_are(header, magic, 6))
            return at == 0 ? "not a cpio archive (newc, magic 070701)"
                           : "damaged: no cpio header where one must be";
        for (unsigned field = 0; field < 13; field++) {
            uint32_t ignored;
            if (!parse_field(header, field, &ignored))
                return "damaged: a cpio header field is no number";
        }
        parse_field(header, FIELD_FILESIZE, &file_size);
        parse_field(header, FIELD_NAMESIZE, &name_size);
        // Name and content are each padded to a multiple of four bytes.
        uint64_t content = (at + HEADER_SIZE + (uint64_t)name_size + 3) & ~3ull;
        uint64_t end = (content + file_size + 3) & ~3ull;
        if (name_size == 0 || content > size || archive[at + HEADER_SIZE + name_size - 1] != '\0')
            return "damaged: a cpio entry has no valid name";
        if (name_size == sizeof(trailer) &&
            bytes_are(archive + at + HEADER_SIZE, trailer, sizeof(trailer)))
            return NULL;
        if (content + file_size > size || end > size)
            return "truncated: a file's content is not all there";
        at = (size_t)end;
    }
}
