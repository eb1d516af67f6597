// SPDX-License-Identifier: BSD-2-Clause
// The loader's check of the initrd.
// Sources: boot/initrd.c core/file/cpio.c
#include "boot/initrd.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char archive[4096];
static size_t size;

static void pad(void) {
    while (size % 4 != 0)
        archive[size++] = '\0';
}

static void add(const char *name, const char *content) {
    size += (size_t)sprintf(
        archive + size, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1, 0100644, 0,
        0, 1, 0, (unsigned)strlen(content), 0, 0, 0, 0, (unsigned)strlen(name) + 1, 0);
    memcpy(archive + size, name, strlen(name) + 1);
    size += strlen(name) + 1;
    pad();
    memcpy(archive + size, content, strlen(content));
    size += strlen(content);
    pad();
}

static void make(void) {
    size = 0;
    add("init", "seven b");
    add("etc/motd", "");
    add("TRAILER!!!", "");
}

static size_t offset;

// Checks a copy of exactly LENGTH bytes, so that a read beyond the end is found.
static const char *check(size_t length) {
    uint8_t *copy = malloc(length ? length : 1);
    memcpy(copy, archive, length);
    const char *reason = initrd_check(copy, length, &offset);
    free(copy);
    return reason;
}

static void assert_refused(const char *words) {
    const char *reason = check(size);
    ck_assert_ptr_nonnull(reason);
    ck_assert_msg(strstr(reason, words) != NULL, "reason is: %s", reason);
}

START_TEST(whole) {
    make();
    ck_assert_ptr_null(check(size));
    memset(archive + size, 0, 512);
    ck_assert_ptr_null(check(size + 512));
}
END_TEST

START_TEST(every_truncation_is_found) {
    make();
    for (size_t length = 0; length < size - 3; length++)
        ck_assert_msg(check(length) != NULL, "%zu bytes pass", length);
}
END_TEST

START_TEST(damaged) {
    make();
    archive[0] = 'x';
    assert_refused("not a cpio archive");
    make();
    memcpy(archive + 54, "ffffffff", 8); // the first file's size
    assert_refused("not a cpio archive");
    make();
    memcpy(archive + 54, "00000008", 8);
    ck_assert_ptr_null(check(size)); // padding taken for content: no header field shows it
    memcpy(archive + 54, "0000000c", 8);
    assert_refused("damaged");
    ck_assert_uint_gt(offset, 0);
    make();
    memcpy(archive + 94, "00000000", 8); // its name's size
    assert_refused("not a cpio archive");
    make();
    memcpy(archive + 94, "fffffffe", 8);
    assert_refused("not a cpio archive");
    make();
    archive[20] = 'g';
    assert_refused("not a cpio archive");
}
END_TEST

Suite *initrd_suite(void) {
    Suite *suite = suite_create("initrd");
    TCase *tests = tcase_create("check");
    tcase_add_test(tests, whole);
    tcase_add_test(tests, every_truncation_is_found);
    tcase_add_test(tests, damaged);
    suite_add_tcase(suite, tests);
    return suite;
}
