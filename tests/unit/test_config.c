// SPDX-License-Identifier: BSD-2-Clause
// The parser of ashlar.conf.
#include "core/config.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct config config;
static struct config_error error;

// Parses a copy in a block of exactly its size, so that a read beyond the end is found.
static char *copy;

static int parse(const char *text) {
    size_t size = strlen(text);
    free(copy);
    copy = malloc(size ? size : 1);
    memcpy(copy, text, size);
    return config_parse(copy, size, &config, &error);
}

static void release_copy(void) {
    free(copy);
    copy = NULL;
}

static void assert_value(enum config_key key, const char *text) {
    const struct config_value *value = &config.value[key];
    ck_assert_ptr_nonnull(value->text);
    ck_assert_uint_eq(value->length, strlen(text));
    ck_assert_int_eq(memcmp(value->text, text, value->length), 0);
}

static void assert_refused(const char *text, unsigned line, const char *reason, const char *word) {
    ck_assert_int_eq(parse(text), -EINVAL);
    ck_assert_uint_eq(error.line, line);
    ck_assert_msg(strstr(error.reason, reason) != NULL, "reason is: %s", error.reason);
    if (word) {
        ck_assert_uint_eq(error.word_length, strlen(word));
        ck_assert_int_eq(memcmp(error.word, word, error.word_length), 0);
    }
}

START_TEST(nothing) {
    ck_assert_int_eq(parse(""), 0);
    ck_assert_int_eq(parse("\n# a comment = 3\n   \t\r\n#"), 0);
    for (int key = 0; key < CONFIG_KEY_COUNT; key++)
        ck_assert_ptr_null(config.value[key].text);
    ck_assert_uint_eq(config_number(&config, CONFIG_GUEST_CPUS, 7), 7);
}
END_TEST

START_TEST(every_key) {
    ck_assert_int_eq(parse("program = /work/a.out\nargs=-v \"two words\" a=b # c\ncpus = 4\r\n"
                           "virt = optional\n guest.cpus = 2\n\tguest.memory\t=\t256\n"
                           "guest.cmdline = console=ttyS0 quiet\nautostart = no\nlog = quiet"),
                     0);
    assert_value(CONFIG_PROGRAM, "/work/a.out");
    assert_value(CONFIG_ARGS, "-v \"two words\" a=b # c");
    assert_value(CONFIG_GUEST_CMDLINE, "console=ttyS0 quiet");
    ck_assert_uint_eq(config_number(&config, CONFIG_CPUS, 1), 4);
    ck_assert_uint_eq(config_number(&config, CONFIG_GUEST_CPUS, 1), 2);
    ck_assert_uint_eq(config_number(&config, CONFIG_GUEST_MEMORY, 1), 256);
    ck_assert(config_is(&config, CONFIG_VIRT, "optional"));
    ck_assert(!config_is(&config, CONFIG_VIRT, "required"));
    ck_assert(config_is(&config, CONFIG_AUTOSTART, "no"));
    ck_assert(config_is(&config, CONFIG_LOG, "quiet"));
    ck_assert_uint_eq(config.value[CONFIG_LOG].line, 9);
}
END_TEST

START_TEST(empty_values) {
    ck_assert_int_eq(parse("args =\nguest.cmdline=  \n"), 0);
    ck_assert_uint_eq(config.value[CONFIG_ARGS].length, 0);
    assert_refused("program =\n", 1, "without a value", NULL);
    assert_refused("log = ", 1, "without a value", NULL);
}
END_TEST

START_TEST(unknown_key) {
    assert_refused("cpus = 2\n\nguest.cpu = 2\n", 3, "unknown key", "guest.cpu");
    assert_refused("cpusx = 2\n", 1, "unknown key", "cpusx");
    assert_refused("cpu = 2\n", 1, "unknown key", "cpu");
    assert_refused(" = 2\n", 1, "unknown key", "");
}
END_TEST

START_TEST(no_equals) {
    assert_refused("# fine\nautostart\n", 2, "no `=`", "autostart");
}
END_TEST

START_TEST(twice) {
    assert_refused("cpus = 1\ncpus = 2\n", 2, "twice", "cpus");
    assert_refused("args =\nargs = b\n", 2, "twice", "args");
}
END_TEST

START_TEST(numbers) {
    assert_refused("cpus = 0\n", 1, "too small", "0");
    assert_refused("cpus = 257\n", 1, "too large", "257");
    assert_refused("guest.memory = 99999999999999999999999999\n", 1, "too large", NULL);
    assert_refused("cpus = -1\n", 1, "not a decimal number", "-1");
    assert_refused("cpus = 0x10\n", 1, "not a decimal number", "0x10");
    assert_refused("cpus = 1 2\n", 1, "not a decimal number", "1 2");
}
END_TEST

START_TEST(choices) {
    assert_refused("virt = maybe\n", 1, "not one of", "maybe");
    assert_refused("autostart = ye\n", 1, "not one of", "ye");
    assert_refused("autostart = yess\n", 1, "not one of", "yess");
}
END_TEST

START_TEST(binary) {
    static const char text[] = "cpus = 1\n\x7f"
                               "ELF\0\1\n";
    ck_assert_int_eq(config_parse(text, sizeof(text) - 1, &config, &error), -EINVAL);
    ck_assert_uint_eq(error.line, 2);
    ck_assert_ptr_nonnull(strstr(error.reason, "control character"));
}
END_TEST

Suite *config_suite(void) {
    Suite *suite = suite_create("config");
    TCase *tests = tcase_create("parse");
    tcase_add_checked_fixture(tests, NULL, release_copy);
    tcase_add_test(tests, nothing);
    tcase_add_test(tests, every_key);
    tcase_add_test(tests, empty_values);
    tcase_add_test(tests, unknown_key);
    tcase_add_test(tests, no_equals);
    tcase_add_test(tests, twice);
    tcase_add_test(tests, numbers);
    tcase_add_test(tests, choices);
    tcase_add_test(tests, binary);
    suite_add_tcase(suite, tests);
    return suite;
}
