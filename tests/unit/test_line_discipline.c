// SPDX-License-Identifier: BSD-2-Clause
// Cooked and raw terminal input, echo and output conversion.
#include <check.h>
#include <signal.h>
#include <string.h>
#include "core/file/line_discipline.h"

Suite *line_discipline_suite(void);

static struct line_discipline line;
static char echoed[64 << 10];
static size_t echoed_length;
static uint8_t text[LINE_SIZE];

static void echo(void *argument, const char *from, size_t length) {
    (void)argument;
    memcpy(echoed + echoed_length, from, length);
    echoed_length += length;
    echoed[echoed_length] = 0;
}

static void start(void) {
    echoed_length = 0;
    line_discipline_init(&line, echo, NULL);
}

static void type(const char *bytes) {
    for (; *bytes; bytes++)
        line_discipline_input(&line, (uint8_t)*bytes);
}

static void expect(const char *wanted) {
    size_t length = line_discipline_take(&line, text, sizeof(text));
    ck_assert_uint_eq(length, strlen(wanted));
    ck_assert_int_eq(memcmp(text, wanted, length), 0);
}

START_TEST(cooked_line) {
    type("hello");
    ck_assert_uint_eq(line_discipline_available(&line), 0);
    type("\r");
    ck_assert_uint_eq(line_discipline_available(&line), 6);
    ck_assert_str_eq(echoed, "hello\r\n");
    ck_assert(!line_discipline_input(&line, 'x')); // the line is to be read first
    ck_assert_uint_eq(line_discipline_take(&line, text, 2), 2);
    expect("llo\n");
    ck_assert(line_discipline_input(&line, 'x'));
}
END_TEST

START_TEST(editing) {
    type("abcd\177\177e\n");
    ck_assert_str_eq(echoed, "abcd\b \b\b \be\r\n");
    expect("abe\n");
    type("\177one two\027three\n");
    expect("one three\n");
    type("gone\025kept\n");
    expect("kept\n");
    echoed_length = 0;
    type("a\001\177b\026\177\n"); // erasing ^A takes two columns; ^V takes DEL as it is
    ck_assert_str_eq(echoed, "a^A\b \b\b \bb^?\r\n");
    expect("ab\177\n");
}
END_TEST

START_TEST(end_of_file) {
    type("\004");
    ck_assert(line.ready);
    expect("");
    ck_assert(!line.ready);
    type("part\004");
    expect("part");
    type("more\n");
    expect("more\n");
}
END_TEST

START_TEST(full_line) {
    for (int i = 0; i < LINE_SIZE + 100; i++)
        ck_assert(line_discipline_input(&line, 'x'));
    type("\n");
    ck_assert_uint_eq(line_discipline_take(&line, text, sizeof(text)), LINE_SIZE);
    ck_assert_uint_eq(text[LINE_SIZE - 1], '\n');
}
END_TEST

static void raw(void) {
    struct termios termios = line.termios;
    termios.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    termios.c_iflag = 0;
    termios.c_oflag = 0;
    line_discipline_set(&line, &termios);
}

START_TEST(raw_bytes) {
    raw();
    type("a\r\003\177");
    ck_assert_uint_eq(echoed_length, 0);
    ck_assert_int_eq(line_discipline_signal(&line, 3), 0);
    expect("a\r\003\177");
    for (int i = 0; i < LINE_SIZE; i++)
        ck_assert(line_discipline_input(&line, 'x'));
    ck_assert(!line_discipline_input(&line, 'x'));
}
END_TEST

START_TEST(change_of_mode_keeps_bytes) {
    type("unfinished");
    raw();
    expect("unfinished");
    type("raw");
    struct termios termios = line.termios;
    termios.c_lflag |= ICANON;
    line_discipline_set(&line, &termios);
    expect("raw");
}
END_TEST

START_TEST(signals) {
    ck_assert_int_eq(line_discipline_signal(&line, 3), SIGINT);
    ck_assert_int_eq(line_discipline_signal(&line, 28), SIGQUIT);
    ck_assert_int_eq(line_discipline_signal(&line, 'c'), 0);
    type("dropped");
    line_discipline_signalled(&line, 3);
    ck_assert_str_eq(echoed, "dropped^C");
    type("\n");
    expect("\n");
}
END_TEST

START_TEST(output) {
    char out[16];
    size_t length = line_discipline_output(&line, (const uint8_t *)"a\nb\r", 4, out);
    ck_assert_uint_eq(length, 5);
    ck_assert_int_eq(memcmp(out, "a\r\nb\r", 5), 0);
    raw();
    ck_assert_uint_eq(line_discipline_output(&line, (const uint8_t *)"a\n", 2, out), 2);
}
END_TEST

Suite *line_discipline_suite(void) {
    Suite *suite = suite_create("line_discipline");
    TCase *cases = tcase_create("terminal");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, cooked_line);
    tcase_add_test(cases, editing);
    tcase_add_test(cases, end_of_file);
    tcase_add_test(cases, full_line);
    tcase_add_test(cases, raw_bytes);
    tcase_add_test(cases, change_of_mode_keeps_bytes);
    tcase_add_test(cases, signals);
    tcase_add_test(cases, output);
    suite_add_tcase(suite, cases);
    return suite;
}
