// SPDX-License-Identifier: BSD-2-Clause
// The newc reader. A header is 110 bytes: a magic and 13 numbers of eight hexadecimal digits; name
// and data follow, each padded to four bytes from the start of the archive.
#include "core/file/cpio.h"
#include <linux/errno.h>
#include "core/string.h"

#define HEADER_SIZE 110u
#define MAGIC_SIZE  6u
#define FIELD_SIZE  8u

enum field {
    FIELD_INODE,
    FIELD_MODE,
    FIELD_UID,
    FIELD_GID,
    FIELD_LINKS,
    FIELD_MODIFIED,
    FIELD_FILE_SIZE,
    FIELD_DEVICE_MAJOR,
    FIELD_DEVICE_MINOR,
    FIELD_RDEV_MAJOR,
    FIELD_RDEV_MINOR,
    FIELD_NAME_SIZE,
    FIELD_CHECK,
    FIELD_COUNT,
};

_Static_assert(MAGIC_SIZE + FIELD_COUNT * FIELD_SIZE == HEADER_SIZE, "newc header");

void cpio_open(struct cpio_reader *reader, const void *archive, size_t size) {
    *reader = (struct cpio_reader){.archive = archive, .size = size};
}

static int digit(uint8_t character) {
    if (character >= '0' && character <= '9')
        return character - '0';
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : -1;
}

static bool parse_fields(const uint8_t *header, uint32_t *fields) {
    for (unsigned i = 0; i < FIELD_COUNT; i++) {
        fields[i] = 0;
        for (unsigned j = 0; j < FIELD_SIZE; j++) {
            int value = digit(header[MAGIC_SIZE + i * FIELD_SIZE + j]);
            if (value < 0)
                return false;
            fields[i] = fields[i] << 4 | (uint32_t)value;
        }
    }
    return true;
}

// The kernel accepts zeros between concatenated archives and after the last.
static void skip_padding(struct cpio_reader *reader) {
    while (reader->offset < reader->size && !reader->archive[reader->offset])
        reader->offset++;
}

static uint64_t align_4(uint64_t value) {
    return (value + 3) & ~3ull;
}

int cpio_next(struct cpio_reader *reader, struct cpio_entry *entry) {
    skip_padding(reader);
    if (reader->offset == reader->size)
        return 0;
    const uint8_t *header = reader->archive + reader->offset;
    uint32_t fields[FIELD_COUNT];
    if (reader->size - reader->offset < HEADER_SIZE ||
        (memcmp(header, "070701", MAGIC_SIZE) && memcmp(header, "070702", MAGIC_SIZE)) ||
        !parse_fields(header, fields))
        return -EINVAL;
    uint64_t name = reader->offset + HEADER_SIZE, name_size = fields[FIELD_NAME_SIZE];
    uint64_t data = align_4(name + name_size), data_size = fields[FIELD_FILE_SIZE];
    if (!name_size || name + name_size > reader->size || reader->archive[name + name_size - 1])
        return -EINVAL;
    if (data_size && (data > reader->size || data_size > reader->size - data))
        return -EINVAL;
    *entry = (struct cpio_entry){
        .name = (const char *)reader->archive + name,
        .data = data_size ? reader->archive + data : NULL,
        .size = fields[FIELD_FILE_SIZE],
        .inode = fields[FIELD_INODE],
        .mode = fields[FIELD_MODE],
        .links = fields[FIELD_LINKS],
        .modified = fields[FIELD_MODIFIED],
        .device_major = fields[FIELD_DEVICE_MAJOR],
        .device_minor = fields[FIELD_DEVICE_MINOR],
        .rdev_major = fields[FIELD_RDEV_MAJOR],
        .rdev_minor = fields[FIELD_RDEV_MINOR],
    };
    entry->name_length = strlen(entry->name);
    uint64_t next = align_4(data + data_size);
    reader->offset = next < reader->size ? next : reader->size;
    return strcmp(entry->name, "TRAILER!!!") ? 1 : 0;
}
