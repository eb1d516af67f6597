// SPDX-License-Identifier: BSD-2-Clause
// Reports of the test programs, in the Test Anything Protocol: a line a test, and one for every
// check that fails. A test that fails goes on.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct tap_test {
    const char *name;
    void (*run)(void);
};

__attribute__((weak)) int tap_failed_checks; // of the running test, in all files of a program

// A check with what was seen in the message; evaluates to whether it held.
#define CHECK(condition, ...)                                                                      \
    tap_check((condition), __FILE__, __LINE__, #condition, " " __VA_ARGS__)

#define CHECK_EQUAL(actual, expected)                                                              \
    tap_check_equal((unsigned long long)(actual), (unsigned long long)(expected), __FILE__,        \
                    __LINE__, #actual)

__attribute__((format(printf, 5, 6), unused)) static int
tap_check(int holds, const char *file, int line, const char *text, const char *format, ...) {
    int error = errno;

    if (!holds) {
        char message[256];
        va_list args;

        va_start(args, format);
        vsnprintf(message, sizeof(message), format, args);
        va_end(args);
        printf("# %s:%d: %s fails %s (errno %d, %s)\n", file, line, text, message, error,
               strerror(error));
        tap_failed_checks++;
    }
    return holds;
}

__attribute__((unused)) static int tap_check_equal(unsigned long long actual,
                                                   unsigned long long expected, const char *file,
                                                   int line, const char *text) {
    if (actual != expected) {
        printf("# %s:%d: %s is %#llx, expected %#llx\n", file, line, text, actual, expected);
        tap_failed_checks++;
    }
    return actual == expected;
}

// Runs the tests in their order, or only the one named. Returns the program's exit status.
__attribute__((unused)) static int tap_run(const struct tap_test *tests, size_t count,
                                           const char *only) {
    int failed = 0;
    int run = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("1..%zu\n", only ? 1 : count);
    for (size_t i = 0; i < count; i++) {
        if (only && strcmp(only, tests[i].name) != 0) {
            continue;
        }
        tap_failed_checks = 0;
        tests[i].run();
        run++;
        failed += tap_failed_checks != 0;
        printf("%s %zu - %s\n", tap_failed_checks ? "not ok" : "ok", i + 1, tests[i].name);
    }
    printf("# %d run, %d failed\n", run, failed);
    return run == 0 || failed ? 1 : 0;
}
