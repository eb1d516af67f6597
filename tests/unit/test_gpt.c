// SPDX-License-Identifier: BSD-2-Clause
// Partitions by number, label and GUID, with damaged tables and lies in them.
// Sources: drivers/block/block_device.c
#include <check.h>
#include <errno.h>
#include <string.h>
#include "drivers/block/gpt.h"
#include "drivers/block/partition.h"

Suite *gpt_suite(void);

#define BLOCKS  256u
#define ENTRIES 8u

static uint8_t bytes[BLOCKS * 4096];
static uint32_t block; // bytes
static struct block_device disk, *part;

static void submit(struct block_device *device, struct block_request *request) {
    ck_assert_uint_le(request->offset + request->length, sizeof(bytes));
    ck_assert_uint_eq((request->offset | request->length) % device->logical_block, 0);
    if (request->operation == BLOCK_READ)
        memcpy(request->data[0].iov_base, bytes + request->offset, request->length);
    request->done(request, 0);
}

static uint32_t crc32(const uint8_t *data, size_t size) {
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < size * 8; i++) {
        uint32_t bit = (crc ^ data[i / 8] >> i % 8) & 1;
        crc = crc >> 1 ^ (bit ? 0xedb88320 : 0);
    }
    return ~crc;
}

static void put(uint8_t *at, unsigned offset, uint64_t value, unsigned size) {
    memcpy(at + offset, &value, size);
}

static void seal(uint64_t lba, uint64_t entries) {
    uint8_t *header = bytes + lba * block;

    put(header, 88, crc32(bytes + entries * block, (size_t)ENTRIES * 128), 4);
    put(header, 16, 0, 4);
    put(header, 16, crc32(header, 92), 4);
}

static void write_header(uint64_t lba, uint64_t entries) {
    uint8_t *header = bytes + lba * block;

    memcpy(header, "EFI PART", 8);
    put(header, 8, 0x10000, 4);
    put(header, 12, 92, 4);
    put(header, 24, lba, 8);
    put(header, 40, 10, 8);          // first usable
    put(header, 48, BLOCKS - 10, 8); // last usable
    put(header, 72, entries, 8);
    put(header, 80, ENTRIES, 4);
    put(header, 84, 128, 4);
    seal(lba, entries);
}

static void write_entry(uint64_t table, unsigned index, uint64_t first, uint64_t last,
                        const char *label) {
    uint8_t *entry = bytes + table * block + (size_t)index * 128;

    for (unsigned i = 0; i < 32; i++)
        entry[i] = (uint8_t)(i + index); // own: 16 and following
    put(entry, 32, first, 8);
    put(entry, 40, last, 8);
    for (unsigned i = 0; label[i]; i++)
        put(entry, 56 + 2 * i, (uint8_t)label[i], 2);
}

// A table in blocks of `size` bytes on a disk whose blocks are of `logical`.
static void start_on(uint32_t size, uint32_t logical) {
    block = size;
    memset(bytes, 0, sizeof(bytes));
    disk = (struct block_device){
        .sectors = BLOCKS * (size / 512), .logical_block = logical, .submit = submit};
    for (unsigned copy = 0; copy < 2; copy++) {
        uint64_t table = copy ? BLOCKS - 5 : 2;

        write_entry(table, 0, 10, 19, "EFI");
        write_entry(table, 2, 20, BLOCKS - 10, "guest");
        write_entry(table, 3, 30, 39, "twice");
        write_entry(table, 4, 40, 49, "twice");
        write_entry(table, 5, BLOCKS - 9, BLOCKS - 9, "beyond");
        write_entry(table, 6, 31, 30, "negative");
        write_header(copy ? BLOCKS - 1 : 1, table);
    }
}

static void start(uint32_t size) {
    start_on(size, 512);
}

static int find(const char *name, uint64_t first, uint64_t sectors) {
    struct gpt_extent found;
    int error = gpt_find(&disk, name, &found);

    if (!error) {
        ck_assert_uint_eq(found.first, first * (block / 512));
        ck_assert_uint_eq(found.sectors, sectors * (block / 512));
    }
    return error;
}

START_TEST(test_names) {
    start_on(_i ? 4096 : 512, _i == 2 ? 4096 : 512);
    ck_assert_int_eq(find("1", 10, 10), 0);
    ck_assert_int_eq(find("guest", 20, BLOCKS - 29), 0);
    ck_assert_int_eq(find("3", 20, BLOCKS - 29), 0);
    ck_assert_int_eq(find("13121110-1514-1716-1819-1a1b1c1d1e1f", 10, 10), 0);
    ck_assert_int_eq(find("15141312-1716-1918-1A1B-1c1d1e1f2021", 20, BLOCKS - 29), 0);
    ck_assert_int_eq(find("gues", 0, 0), -ENOENT);
    ck_assert_int_eq(find("guests", 0, 0), -ENOENT);
    ck_assert_int_eq(find("2", 0, 0), -ENOENT); // not in use
    ck_assert_int_eq(find("9", 0, 0), -ENOENT);
    ck_assert_int_eq(find("twice", 0, 0), -ENOTUNIQ);
    ck_assert_int_eq(find("beyond", 0, 0), -EINVAL);
    ck_assert_int_eq(find("negative", 0, 0), -EINVAL);
}
END_TEST

START_TEST(test_backup) {
    start(512);
    bytes[512 + 60]++; // the header
    ck_assert_int_eq(find("guest", 20, BLOCKS - 29), 0);
    start(512);
    bytes[1024 + 300]++; // an entry
    ck_assert_int_eq(find("guest", 20, BLOCKS - 29), 0);
    bytes[(BLOCKS - 1) * 512]++; // and the other copy
    ck_assert_int_eq(find("guest", 0, 0), -ENODATA);
}
END_TEST

START_TEST(test_lies) {
    static const struct {
        unsigned offset, size;
        uint64_t value;
    } lies[] = {{12, 4, 91},          {12, 4, 513}, {24, 8, 2},          {72, 8, BLOCKS},
                {72, 8, UINT64_MAX},  {80, 4, 0},   {80, 4, UINT32_MAX}, {84, 4, 0},
                {84, 4, 0x80000000u}, {84, 4, 192}};

    start(512);
    memset(bytes + (BLOCKS - 1) * 512, 0, 512);
    put(bytes + 512, lies[_i].offset, lies[_i].value, lies[_i].size);
    put(bytes + 512, 16, 0, 4);
    put(bytes + 512, 16, crc32(bytes + 512, lies[_i].offset == 12 ? lies[_i].value : 92), 4);
    ck_assert_int_eq(find("guest", 0, 0), -ENODATA);
}
END_TEST

START_TEST(test_no_disk) {
    start(512);
    disk.sectors = 0;
    ck_assert_int_eq(find("guest", 0, 0), -ENODATA);
    disk.sectors = 1;
    ck_assert_int_eq(find("guest", 0, 0), -ENODATA);
}
END_TEST

START_TEST(test_part) {
    uint8_t data[512];

    start(512);
    bytes[20 * 512] = 77;
    part = partition_create(&disk, 20, 5, true);
    ck_assert_ptr_nonnull(part);
    ck_assert_uint_eq(part->sectors, 5);
    ck_assert(part->read_only);
    ck_assert_int_eq(block_transfer(part, BLOCK_READ, 0, data, 512), 0);
    ck_assert_uint_eq(data[0], 77);
}
END_TEST

Suite *gpt_suite(void) {
    Suite *suite = suite_create("gpt");
    TCase *tests = tcase_create("gpt");

    tcase_add_loop_test(tests, test_names, 0, 3);
    tcase_add_test(tests, test_backup);
    tcase_add_loop_test(tests, test_lies, 0, 10);
    tcase_add_test(tests, test_no_disk);
    tcase_add_test(tests, test_part);
    suite_add_tcase(suite, tests);
    return suite;
}
