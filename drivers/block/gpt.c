// SPDX-License-Identifier: BSD-2-Clause
// Nothing on the disk is believed before its checksum and its range are right.
#include "drivers/block/gpt.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ENTRIES_BYTES_MAX (1u << 20)
#define BLOCK_MAX         4096u
#define LABEL_UNITS       36
#define GUID_TEXT         37

struct guid {
    uint32_t low;
    uint16_t middle, high;
    uint8_t rest[8];
};

struct __attribute__((packed)) header {
    char signature[8];
    uint32_t revision, size, crc, reserved;
    uint64_t own, other, first_usable, last_usable;
    struct guid disk;
    uint64_t entries;
    uint32_t count, entry_size, entries_crc;
};

struct entry {
    struct guid type, own;
    uint64_t first, last, attributes;
    uint16_t label[LABEL_UNITS];
};

_Static_assert(sizeof(struct header) == 92 && sizeof(struct entry) == 128, "UEFI 2.10, 5.3.2");

// A table of which everything that is needed was checked.
struct table {
    uint32_t block; // bytes
    struct header header;
    uint8_t *entries;
};

static uint32_t crc32(const uint8_t *bytes, size_t size) {
    uint32_t crc = ~0u;

    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

static int read_blocks(struct block_device *disk, const struct table *table, uint64_t lba,
                       void *data, size_t size) {
    uint64_t blocks = disk->sectors / (table->block / BLOCK_SECTOR_SIZE);
    size_t wanted = (size + table->block - 1) / table->block;

    if (lba >= blocks || wanted > blocks - lba)
        return -ENODATA;
    return block_transfer(disk, BLOCK_READ, lba * table->block, data, wanted * table->block);
}

static int read_header(struct block_device *disk, struct table *table, uint64_t lba) {
    uint8_t block[BLOCK_MAX];
    struct header *header = &table->header;
    int error = read_blocks(disk, table, lba, block, table->block);

    if (error)
        return error;
    memcpy(header, block, sizeof(*header));
    if (memcmp(header->signature, "EFI PART", 8) != 0 || header->size < sizeof(*header) ||
        header->size > table->block)
        return -ENODATA;
    memset(block + offsetof(struct header, crc), 0, sizeof(header->crc));
    if (crc32(block, header->size) != header->crc || header->own != lba ||
        header->entry_size < sizeof(struct entry) ||
        (header->entry_size & (header->entry_size - 1)) || !header->count ||
        header->count > ENTRIES_BYTES_MAX / header->entry_size)
        return -ENODATA;
    return 0;
}

static int read_table(struct block_device *disk, struct table *table, uint64_t lba) {
    int error = read_header(disk, table, lba);

    if (error)
        return error;
    size_t size = (size_t)table->header.count * table->header.entry_size;
    table->entries = malloc(size + table->block);
    if (!table->entries)
        return -ENOMEM;
    error = read_blocks(disk, table, table->header.entries, table->entries, size);
    if (!error && crc32(table->entries, size) != table->header.entries_crc)
        error = -ENODATA;
    if (error)
        free(table->entries);
    return error;
}

// Disks with blocks of 4 KiB have their tables in those; so has a copy of one.
static int find_table(struct block_device *disk, struct table *table) {
    int error = -ENODATA;

    for (table->block = disk->logical_block; error == -ENODATA && table->block <= BLOCK_MAX;
         table->block *= BLOCK_MAX / BLOCK_SECTOR_SIZE) {
        uint64_t blocks = disk->sectors / (table->block / BLOCK_SECTOR_SIZE);

        error = read_table(disk, table, 1);
        if (error == -ENODATA && blocks)
            error = read_table(disk, table, blocks - 1);
        if (!error)
            return 0;
    }
    return error;
}

static void guid_text(const struct guid *guid, char *text) {
    const uint8_t *rest = guid->rest;

    snprintf(text, GUID_TEXT, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", guid->low,
             guid->middle, guid->high, rest[0], rest[1], rest[2], rest[3], rest[4], rest[5],
             rest[6], rest[7]);
}

// Labels are UTF-16; one with a character that takes two units is found by its GUID or number.
static bool label_is(const struct entry *entry, const char *name) {
    for (int i = 0; i < LABEL_UNITS && entry->label[i]; i++) {
        uint16_t unit = entry->label[i];
        uint8_t bytes[3] = {(uint8_t)unit};
        size_t size = 1;

        if (unit >= 0x800) {
            bytes[0] = (uint8_t)(0xe0 | unit >> 12);
            bytes[1] = (uint8_t)(0x80 | (unit >> 6 & 0x3f));
            bytes[2] = (uint8_t)(0x80 | (unit & 0x3f));
            size = 3;
        } else if (unit >= 0x80) {
            bytes[0] = (uint8_t)(0xc0 | unit >> 6);
            bytes[1] = (uint8_t)(0x80 | (unit & 0x3f));
            size = 2;
        }
        if (strncmp(name, (const char *)bytes, size) != 0)
            return false;
        name += size;
    }
    return !*name;
}

static bool is_meant(const struct entry *entry, unsigned number, const char *name) {
    char guid[GUID_TEXT], digits[12];

    guid_text(&entry->own, guid);
    snprintf(digits, sizeof(digits), "%u", number);
    return strcmp(name, digits) == 0 || strcasecmp(name, guid) == 0 || label_is(entry, name);
}

static int search(const struct block_device *disk, const struct table *table, const char *name,
                  struct gpt_extent *found) {
    static const struct guid unused;
    uint64_t sectors = table->block / BLOCK_SECTOR_SIZE;
    int error = -ENOENT;

    for (uint32_t i = 0; i < table->header.count; i++) {
        struct entry entry;

        memcpy(&entry, table->entries + (size_t)i * table->header.entry_size, sizeof(entry));
        if (memcmp(&entry.type, &unused, sizeof(unused)) == 0 || !is_meant(&entry, i + 1, name))
            continue;
        if (entry.first < table->header.first_usable || entry.first > entry.last ||
            entry.last > table->header.last_usable || entry.last >= disk->sectors / sectors)
            return -EINVAL;
        if (!error)
            return -ENOTUNIQ;
        *found =
            (struct gpt_extent){entry.first * sectors, (entry.last - entry.first + 1) * sectors};
        error = 0;
    }
    return error;
}

int gpt_find(struct block_device *disk, const char *name, struct gpt_extent *found) {
    struct table table;
    int error = find_table(disk, &table);

    if (error)
        return error;
    error = search(disk, &table, name, found);
    free(table.entries);
    return error;
}
