// SPDX-License-Identifier: BSD-2-Clause
// vmm's warnings, of which a guest can cause any number.
#include <check.h>
#include <stdio.h>
#include <unistd.h>

// Others stand in for these where vmm's files are tested.
#define fatal       tested_fatal
#define fatal_errno tested_fatal_errno
#define warning     tested_warning
#include "guest-tools/vmm/error.c" // NOLINT(bugprone-suspicious-include)

Suite *warning_suite(void);

START_TEST(warnings_are_bounded) {
    FILE *log = tmpfile();
    int before = dup(STDERR_FILENO), lines = 0;

    ck_assert_ptr_nonnull(log);
    dup2(fileno(log), STDERR_FILENO);
    for (unsigned i = 0; i < 10000; i++)
        tested_warning("the driver's queues cannot be used: %u", i);
    dup2(before, STDERR_FILENO);
    rewind(log);
    for (int c; (c = fgetc(log)) != EOF;)
        lines += c == '\n';
    ck_assert_int_ge(lines, 100);
    ck_assert_int_le(lines, 103); // the host may be slow
    fclose(log);
    close(before);
}
END_TEST

Suite *warning_suite(void) {
    Suite *suite = suite_create("warning");
    TCase *tests = tcase_create("warning");

    tcase_add_test(tests, warnings_are_bounded);
    suite_add_tcase(suite, tests);
    return suite;
}
