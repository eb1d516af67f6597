// SPDX-License-Identifier: BSD-2-Clause
// The newc reader: good archives, and every way one can be damaged.
#include <check.h>
#include <linux/errno.h>
#include <stdlib.h>
#include <string.h>
#include "core/file/file_mode.h"
#include "core/file/cpio.h"
#include "tests/unit/fake_process.h"

// Sources: tests/unit/fake_process.c

Suite *cpio_suite(void);

static struct fake_archive archive;
static struct cpio_reader reader;
static struct cpio_entry entry;

static void start(void) {
    archive.size = 0;
    fake_archive_add(&archive, "bin", S_IFDIR | 0755, 1, 2, NULL, 0);
    fake_archive_add(&archive, "bin/tool", S_IFREG | 0700, 2, 1, "content", 7);
    fake_archive_add(&archive, "TRAILER!!!", 0, 0, 1, NULL, 0);
    cpio_open(&reader, archive.bytes, archive.size);
}

START_TEST(entries_in_order) {
    ck_assert_int_eq(cpio_next(&reader, &entry), 1);
    ck_assert_str_eq(entry.name, "bin");
    ck_assert_uint_eq(entry.mode, S_IFDIR | 0755);
    ck_assert_uint_eq(entry.size, 0);
    ck_assert_int_eq(cpio_next(&reader, &entry), 1);
    ck_assert_str_eq(entry.name, "bin/tool");
    ck_assert_uint_eq(entry.name_length, 8);
    ck_assert_uint_eq(entry.inode, 2);
    ck_assert_uint_eq(entry.modified, 1000);
    ck_assert_uint_eq(entry.size, 7);
    ck_assert_int_eq(memcmp(entry.data, "content", 7), 0);
    ck_assert_int_eq(cpio_next(&reader, &entry), 0);
}
END_TEST

START_TEST(padding_and_no_trailer) {
    archive.size -= 124; // the trailer
    memset(archive.bytes + archive.size, 0, 124);
    cpio_open(&reader, archive.bytes, archive.size + 100);
    ck_assert_int_eq(cpio_next(&reader, &entry), 1);
    ck_assert_int_eq(cpio_next(&reader, &entry), 1);
    ck_assert_int_eq(cpio_next(&reader, &entry), 0);
    cpio_open(&reader, archive.bytes, 0);
    ck_assert_int_eq(cpio_next(&reader, &entry), 0);
}
END_TEST

START_TEST(upper_case_digits) {
    memcpy(archive.bytes + 6, "0000ABcD", 8);
    ck_assert_int_eq(cpio_next(&reader, &entry), 1);
    ck_assert_uint_eq(entry.inode, 0xabcd);
}
END_TEST

struct damage {
    size_t at;
    const char *bytes;
};

static const struct damage damages[] = {
    {0, "070707"},    // another format
    {6, "0000000g"},  // no digit
    {54, "ffffffff"}, // size beyond the archive
    {94, "00000000"}, // no name
    {94, "ffffffff"}, // name beyond the archive
    {94, "00000003"}, // name without its NUL
};

START_TEST(damaged_header) {
    memcpy(archive.bytes + damages[_i].at, damages[_i].bytes, strlen(damages[_i].bytes));
    ck_assert_int_eq(cpio_next(&reader, &entry), -EINVAL);
    ck_assert_uint_eq(reader.offset, 0);
}
END_TEST

// Cut off anywhere: entries that are whole, then an error or the end, and no byte read outside.
START_TEST(truncated) {
    for (size_t size = 0; size <= archive.size; size++) {
        uint8_t *copy = malloc(size ? size : 1);
        memcpy(copy, archive.bytes, size);
        cpio_open(&reader, copy, size);
        int count = 0, more;
        while ((more = cpio_next(&reader, &entry)) > 0)
            count++;
        ck_assert_int_le(count, 2);
        if (size == archive.size)
            ck_assert(count == 2 && more == 0);
        free(copy);
    }
}
END_TEST

Suite *cpio_suite(void) {
    Suite *suite = suite_create("cpio");
    TCase *cases = tcase_create("reader");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, entries_in_order);
    tcase_add_test(cases, padding_and_no_trailer);
    tcase_add_test(cases, upper_case_digits);
    tcase_add_loop_test(cases, damaged_header, 0, sizeof(damages) / sizeof(damages[0]));
    tcase_add_test(cases, truncated);
    suite_add_tcase(suite, cases);
    return suite;
}
