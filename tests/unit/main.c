// SPDX-License-Identifier: BSD-2-Clause
// Runs the suite of every tests/unit/test_<name>.c; the build writes their list, suites.inc.
#include <check.h>
#include <stdlib.h>

#define SUITE(name) Suite *name##_suite(void);
#include "suites.inc"
#undef SUITE

#define SUITE(name) name##_suite,
static Suite *(*const suites[])(void) = {
#include "suites.inc"
};
#undef SUITE

// Each test is a fork of this process, and looks for leaks at its end: freed memory that is kept
// for long would be looked through by all of them.
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "quarantine_size_mb=4";
}

int main(void) {
    // Seconds that end a test which hangs: a slow machine is no failure.
    setenv("CK_DEFAULT_TIMEOUT", "300", 0);
    SRunner *runner = srunner_create(NULL);
    for (size_t i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
        srunner_add_suite(runner, suites[i]());
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
