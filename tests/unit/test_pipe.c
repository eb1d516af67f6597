// SPDX-License-Identifier: BSD-2-Clause
// Pipes: order, atomic writes, blocking, ends that close.
#include <asm/fcntl.h>

#include <check.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/limits.h>
#include <signal.h>
#include <string.h>
#include "core/file/pipe.h"
#include "core/process/system_call.h"
#include "tests/unit/fake_process.h"

// Sources: tests/unit/fake_process.c core/file/read_write_calls.c core/file/descriptor_calls.c

Suite *pipe_suite(void);

static int fds[2];
static uint8_t out[100000], in[100000];

static void start(void) {
    fake_process_start();
    ck_assert_int_eq(CALL(sys_pipe2, (uintptr_t)fds, 0), 0);
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t)(i * 7 + i / 251);
}

static int64_t write_bytes(size_t size) {
    return CALL(sys_write, fds[1], (uintptr_t)out, size);
}

static int64_t read_bytes(size_t size) {
    return CALL(sys_read, fds[0], (uintptr_t)in, size);
}

static void nonblocking(int fd) {
    ck_assert_int_eq(CALL(sys_fcntl, fd, F_SETFL, O_NONBLOCK), 0);
}

// The ring wraps at every place with every small size.
START_TEST(order) {
    size_t put = 0, taken = 0;
    nonblocking(fds[1]);
    for (size_t size = 1; put + size < 60000; size = size % 777 + 13) {
        ck_assert_int_eq(CALL(sys_write, fds[1], (uintptr_t)(out + put), size), (int64_t)size);
        put += size;
        int64_t got = CALL(sys_read, fds[0], (uintptr_t)(in + taken), size / 2 + 1);
        ck_assert_int_gt(got, 0);
        taken += (size_t)got;
    }
    while (taken < put)
        taken += (size_t)CALL(sys_read, fds[0], (uintptr_t)(in + taken), put - taken);
    ck_assert_int_eq(memcmp(in, out, put), 0);
}
END_TEST

START_TEST(atomic_writes) {
    nonblocking(fds[1]);
    nonblocking(fds[0]);
    ck_assert_int_eq(write_bytes(65536 - 100), 65536 - 100);
    ck_assert_int_eq(write_bytes(101), -EAGAIN); // at most PIPE_BUF: all or nothing
    ck_assert_int_eq(write_bytes(PIPE_BUF + 1), 100);
    ck_assert_int_eq(read_bytes(sizeof(in)), 65536);
    ck_assert_int_eq(read_bytes(1), -EAGAIN);
}
END_TEST

static void put_later(void) {
    ck_assert_int_eq(CALL(sys_write, fds[1], (uintptr_t) "late", 4), 4);
}

static void take_later(void) {
    ck_assert_int_eq(read_bytes(65536), 65536);
}

START_TEST(blocking) {
    fake_on_wait(put_later);
    ck_assert_int_eq(read_bytes(100), 4);
    ck_assert_int_eq(read_bytes(100), -ERESTARTSYS);
    fake_on_wait(take_later);
    ck_assert_int_eq(write_bytes(65536), 65536);
    ck_assert_int_eq(write_bytes(1000), 1000);
    ck_assert_int_eq(write_bytes(80000), 64536); // the wait is cut short by a signal
}
END_TEST

START_TEST(ends) {
    ck_assert_int_eq(write_bytes(10), 10);
    ck_assert_int_eq(CALL(sys_close, fds[1]), 0);
    ck_assert_int_eq(read_bytes(100), 10);
    ck_assert_int_eq(read_bytes(100), 0);
    ck_assert_int_eq(CALL(sys_close, fds[0]), 0);
    ck_assert_int_eq(CALL(sys_pipe2, (uintptr_t)fds, 0), 0);
    ck_assert_int_eq(CALL(sys_close, fds[0]), 0);
    ck_assert_int_eq(write_bytes(10), -EPIPE);
    ck_assert_int_eq(fake_last_signal, SIGPIPE);
}
END_TEST

START_TEST(refused) {
    ck_assert_int_eq(CALL(sys_pipe2, (uintptr_t)fds, O_APPEND), -EINVAL);
    ck_assert_int_eq(CALL(sys_pipe2, 8, 0), -EFAULT);
    ck_assert_int_eq(CALL(sys_write, fds[0], (uintptr_t)out, 1), -EBADF);
    ck_assert_int_eq(CALL(sys_read, fds[1], (uintptr_t)in, 1), -EBADF);
    ck_assert_int_eq(CALL(sys_lseek, fds[0], 0, 0), -ESPIPE);
    ck_assert_int_eq(CALL(sys_pread64, fds[0], (uintptr_t)in, 1, 0), -ESPIPE);
    ck_assert_int_eq(CALL(sys_write, fds[1], 8, 10), -EFAULT);
    ck_assert_int_eq(CALL(sys_fcntl, fds[1], F_SETPIPE_SZ, 5000), 8192);
    ck_assert_int_eq(CALL(sys_fcntl, fds[1], F_GETPIPE_SZ, 0), 8192);
}
END_TEST

Suite *pipe_suite(void) {
    Suite *suite = suite_create("pipe");
    TCase *cases = tcase_create("pipe");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, order);
    tcase_add_test(cases, atomic_writes);
    tcase_add_test(cases, blocking);
    tcase_add_test(cases, ends);
    tcase_add_test(cases, refused);
    suite_add_tcase(suite, cases);
    return suite;
}
