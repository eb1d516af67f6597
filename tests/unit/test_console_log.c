// SPDX-License-Identifier: BSD-2-Clause
// What a console has shown, for readers that come late or read slowly.
// Sources: guest-tools/vmm/console_log.c
#define _GNU_SOURCE
#include "guest-tools/vmm/console_log.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct console_log console;
static int pair[2]; // a reader's connection
static int shown[2];

static void setup(void) {
    console.end = 0;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(pipe2(shown, O_NONBLOCK), 0);
}

static void teardown(void) {
    for (int i = 0; i < 2; i++) {
        close(pair[i]);
        close(shown[i]);
    }
}

static uint8_t nth(uint64_t position) {
    return (uint8_t)(position * 7 + position / 251);
}

// The console shows so many bytes more.
static void show(size_t count) {
    for (; count; count--) {
        uint8_t byte = nth(console.end);

        ck_assert_int_eq(write(shown[1], &byte, 1), 1);
        ck_assert(console_log_take(&console, shown[0]));
    }
}

// The reader gets what was shown from `from` to `to`, and no more.
static void check_read(uint64_t from, uint64_t to) {
    uint8_t byte;

    for (; from < to; from++) {
        ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 1);
        ck_assert_uint_eq(byte, nth(from));
    }
    ck_assert_int_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), -1);
}

START_TEST(from_the_beginning) {
    uint64_t position = console_log_start(&console);

    show(100);
    ck_assert(console_log_send(&console, pair[0], &position));
    check_read(0, 100);
    show(1);
    ck_assert(console_log_send(&console, pair[0], &position));
    check_read(100, 101);
}
END_TEST

START_TEST(the_last_of_much) {
    show(CONSOLE_LOG_SIZE + 1000);
    uint64_t position = console_log_start(&console);
    ck_assert_uint_eq(position, 1000);
    ck_assert(console_log_send(&console, pair[0], &position));
    check_read(1000, CONSOLE_LOG_SIZE + 1000);
}
END_TEST

START_TEST(a_slow_reader_misses_some) {
    uint64_t position = 0;
    int size = 4096;
    uint8_t drained[4096];

    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    show(CONSOLE_LOG_SIZE);
    ck_assert(console_log_send(&console, pair[0], &position));
    ck_assert_uint_lt(position, CONSOLE_LOG_SIZE); // the connection is full
    uint64_t sent = position;
    for (uint64_t left = sent; left;) {
        ssize_t got = read(pair[1], drained, left < sizeof(drained) ? left : sizeof(drained));
        ck_assert_int_gt(got, 0);
        left -= (uint64_t)got;
    }
    show(sent + 500);
    ck_assert(console_log_send(&console, pair[0], &position));
    ck_assert_int_eq(recv(pair[1], drained, 1, 0), 1);
    ck_assert_uint_eq(drained[0], nth(sent + 500));
}
END_TEST

START_TEST(ends) {
    uint64_t position = 0;

    show(1);
    close(shown[1]);
    ck_assert(!console_log_take(&console, shown[0]));
    close(pair[1]);
    ck_assert(!console_log_send(&console, pair[0], &position));
    pair[1] = shown[1] = -1;
}
END_TEST

Suite *console_log_suite(void);

Suite *console_log_suite(void) {
    Suite *suite = suite_create("console_log");
    TCase *tcase = tcase_create("console_log");

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, from_the_beginning);
    tcase_add_test(tcase, the_last_of_much);
    tcase_add_test(tcase, a_slow_reader_misses_some);
    tcase_add_test(tcase, ends);
    suite_add_tcase(suite, tcase);
    return suite;
}
