// SPDX-License-Identifier: BSD-2-Clause
// format_string against the C library's printf.
// Sources: core/format.c
#include <check.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include "core/log.h"

#define SAME(...)                                                                                  \
    do {                                                                                           \
        char ours[128], theirs[128];                                                               \
        int length = format_string(ours, sizeof ours, __VA_ARGS__);                                \
        ck_assert_int_eq(length, snprintf(theirs, sizeof theirs, __VA_ARGS__));                    \
        ck_assert_str_eq(ours, theirs);                                                            \
    } while (0)

START_TEST(agrees_with_printf) {
    SAME("plain");
    SAME("%d %i %d", 0, -1, INT_MIN);
    SAME("%u %x %X %o", UINT_MAX, 0xbeefu, 0xBEEFu, 0777u);
    SAME("%ld %lu %llx %zu", LONG_MIN, ULONG_MAX, 0x123456789abcdefull, (size_t)42);
    SAME("%hu %hd", (unsigned short)65535, (short)-5);
    SAME("%5d|%-5d|%05d|%5s|%-5s|", 42, 42, -42, "ab", "ab");
    SAME("%*d|%-*d|%.*s|", 6, 7, 6, 7, 2, "abcdef");
    SAME("%.3s %s", "abcdef", "");
    SAME("%c%c%%", 'x', 'y');
    SAME("%016lx", 0xffffffff80000000ul);
    SAME("%p", (void *)0x1234);
}
END_TEST

START_TEST(cuts_and_terminates) {
    char text[5] = "zzzz";
    ck_assert_int_eq(format_string(text, sizeof text, "%s", "abcdefgh"), 8);
    ck_assert_str_eq(text, "abcd");
    char one = 'z';
    ck_assert_int_eq(format_string(&one, 1, "%d", 123), 3);
    ck_assert_int_eq(one, 0);
    ck_assert_int_eq(format_string(NULL, 0, "%d", 123), 3);
}
END_TEST

START_TEST(null_string) {
    char text[16];
    const char *volatile nothing = NULL;
    format_string(text, sizeof text, "%s", nothing);
    ck_assert_str_eq(text, "(null)");
}
END_TEST

Suite *format_suite(void);
Suite *format_suite(void) {
    Suite *suite = suite_create("format");
    TCase *tests = tcase_create("format_string");
    tcase_add_test(tests, agrees_with_printf);
    tcase_add_test(tests, cuts_and_terminates);
    tcase_add_test(tests, null_string);
    suite_add_tcase(suite, tests);
    return suite;
}
