// SPDX-License-Identifier: BSD-2-Clause
// Unix sockets: what a whole system can hardly show, such as files in flight that would form a
// cycle.
#include <asm/fcntl.h>

#include <asm/socket.h>
#include <check.h>
#include <linux/errno.h>
#include <signal.h>
#include <string.h>
#include "core/file/socket_abi.h"
#include "core/file/unix_socket.h"
#include "core/process/system_call.h"
#include "tests/unit/fake_memory.h"
#include "tests/unit/fake_process.h"

// Sources: core/file/unix_transfer.c core/file/unix_message.c core/file/unix_address.c
// Sources: core/file/socket_calls.c core/file/message_calls.c core/file/path.c core/file/node.c
// Sources: core/file/read_write_calls.c core/format.c tests/unit/fake_process.c

Suite *unix_socket_suite(void);

static int a, b;
static char text[4096];

static void pair(int type, int *first, int *second) {
    int fds[2];
    ck_assert_int_eq(CALL(sys_socketpair, AF_UNIX, type, 0, (uintptr_t)fds), 0);
    *first = fds[0];
    *second = fds[1];
}

static void start(void) {
    fake_process_start();
    pair(SOCK_STREAM | O_NONBLOCK, &a, &b);
}

static int64_t put(int fd, const char *bytes) {
    return CALL(sys_write, fd, (uintptr_t)bytes, strlen(bytes));
}

static int64_t take(int fd, size_t size) {
    memset(text, 0, sizeof(text));
    return CALL(sys_read, fd, (uintptr_t)text, size);
}

struct control {
    struct control_header header;
    int32_t fd[4];
};

static int64_t send_fds(int socket, const int *fds, unsigned count) {
    struct control control = {
        .header = {.length = sizeof(struct control_header) + count * sizeof(int32_t),
                   .level = SOL_SOCKET,
                   .type = SCM_RIGHTS}};
    struct iovec piece = {"x", 1};
    struct message_header message = {.pieces = (uintptr_t)&piece,
                                     .piece_count = 1,
                                     .control = (uintptr_t)&control,
                                     .control_length = control.header.length};
    memcpy(control.fd, fds, count * sizeof(int32_t));
    return CALL(sys_sendmsg, socket, (uintptr_t)&message, 0);
}

static int64_t receive_fds(int socket, struct control *control, uint64_t room, uint32_t *flags) {
    struct iovec piece = {text, sizeof(text)};
    struct message_header message = {.pieces = (uintptr_t)&piece,
                                     .piece_count = 1,
                                     .control = (uintptr_t)control,
                                     .control_length = room};
    int64_t result = CALL(sys_recvmsg, socket, (uintptr_t)&message, 0);
    *flags = message.flags;
    return result;
}

START_TEST(stream) {
    ck_assert_int_eq(put(a, "hello"), 5);
    ck_assert_int_eq(take(b, 2), 2);
    ck_assert_int_eq(put(a, "more"), 4);
    ck_assert_int_eq(take(b, 100), 7);
    ck_assert_str_eq(text, "llomore");
    ck_assert_int_eq(take(b, 1), -EAGAIN);
    ck_assert_int_eq(CALL(sys_write, a, 8, 4), -EFAULT);
    ck_assert_int_eq(take(b, 1), -EAGAIN);
    ck_assert_int_eq(put(a, "kept"), 4);
    ck_assert_int_eq(CALL(sys_read, b, 8, 4), -EFAULT);
    ck_assert_int_eq(take(b, 10), 4);
}
END_TEST

static void close_peer(void) {
    CALL(sys_close, a);
}

START_TEST(hang_up) {
    ck_assert_int_eq(CALL(sys_fcntl, b, 4 /* F_SETFL */, 0), 0);
    fake_on_wait(close_peer);
    ck_assert_int_eq(take(b, 10), 0);
    ck_assert_int_eq(put(b, "x"), -EPIPE);
    ck_assert_int_eq(fake_last_signal, SIGPIPE);
    pair(SOCK_STREAM, &a, &b);
    put(b, "unread");
    CALL(sys_close, a);
    ck_assert_int_eq(take(b, 10), -ECONNRESET);
    ck_assert_int_eq(take(b, 10), 0);
}
END_TEST

// What was not read goes with the socket: interrupts come between.
START_TEST(much_unread) {
    enum { MESSAGES = 500 };
    for (int i = 0; i < MESSAGES; i++)
        ck_assert_int_eq(put(a, "x"), 1);
    fake_preemption_points = 0;
    ck_assert_int_eq(CALL(sys_close, b), 0);
    ck_assert_uint_ge(fake_preemption_points, MESSAGES);
}
END_TEST

START_TEST(files_travel) {
    struct control control;
    uint32_t flags;
    int counter = (int)CALL(sys_eventfd, 9), fds[3] = {counter, counter, counter};
    ck_assert_int_eq(send_fds(a, fds, 3), 1);
    ck_assert_int_eq(receive_fds(b, &control, sizeof(control), &flags), 1);
    ck_assert_uint_eq(control.header.length, sizeof(control.header) + 12);
    ck_assert_uint_eq(flags, 0);
    ck_assert_int_eq(take(control.fd[2], 8), 8);
    ck_assert_int_eq(text[0], 9);
    ck_assert_int_eq(send_fds(a, fds, 3), 1); // room for two: the third is closed
    ck_assert_int_eq(receive_fds(b, &control, sizeof(control.header) + 8, &flags), 1);
    ck_assert_uint_eq(flags, MSG_CTRUNC);
    ck_assert_int_eq(send_fds(a, (int[]){99}, 1), -EBADF);
    ck_assert_int_eq(take(b, 1), -EAGAIN);
}
END_TEST

START_TEST(cycles_are_refused) {
    int c, d;
    pair(SOCK_STREAM | O_NONBLOCK, &c, &d);
    ck_assert_int_eq(send_fds(a, &b, 1), -ETOOMANYREFS); // b into its own queue
    ck_assert_int_eq(send_fds(a, &d, 1), 1);             // b holds d
    ck_assert_int_eq(send_fds(c, &b, 1), -ETOOMANYREFS); // d may not hold b
    ck_assert_int_eq(send_fds(c, &a, 1), 1);             // but a
    ck_assert_int_eq(take(b, 1), 1);                     // drops d from b's queue
    ck_assert_int_eq(send_fds(c, &b, 1), 1);
}
END_TEST

// Sockets in sockets in sockets: closing the first frees them all without deep recursion.
START_TEST(long_chains) {
    int in = a, out = b;
    for (int i = 0; i < 400; i++) {
        int next_in, next_out;
        pair(SOCK_STREAM | O_NONBLOCK, &next_in, &next_out);
        ck_assert_int_eq(send_fds(in, &next_out, 1), 1);
        if (i) {
            CALL(sys_close, in);
            CALL(sys_close, out);
        }
        in = next_in;
        out = next_out;
    }
    CALL(sys_close, out);
    CALL(sys_close, b);
    ck_assert_int_eq(put(in, "x"), -EPIPE); // the other end, deep in the chain, is closed
}
END_TEST

START_TEST(datagram_limits) {
    pair(SOCK_DGRAM | O_NONBLOCK, &a, &b);
    int sent = 0;
    while (CALL(sys_write, a, (uintptr_t)text, 1024) == 1024)
        sent++;
    ck_assert_int_gt(sent, 50);
    ck_assert_int_lt(sent, 300);
    ck_assert_int_eq(take(b, 10), 10);
    ck_assert_int_eq(put(a, "room"), 4);
    ck_assert_int_eq(CALL(sys_close, b), 0);
    ck_assert_int_eq(put(a, "x"), -ECONNREFUSED);
    static char large[300000];
    ck_assert_int_eq(CALL(sys_write, a, (uintptr_t)large, sizeof(large)), -EMSGSIZE);
}
END_TEST

START_TEST(backlog) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0name"};
    uint64_t length = 2 + 5;
    int server = (int)CALL(sys_socket, AF_UNIX, SOCK_STREAM, 0), clients[3];
    ck_assert_int_eq(CALL(sys_bind, server, (uintptr_t)&address, length), 0);
    ck_assert_int_eq(CALL(sys_listen, server, 1), 0);
    for (int i = 0; i < 3; i++)
        clients[i] = (int)CALL(sys_socket, AF_UNIX, SOCK_STREAM | O_NONBLOCK, 0);
    ck_assert_int_eq(CALL(sys_connect, clients[0], (uintptr_t)&address, length), 0);
    ck_assert_int_eq(CALL(sys_connect, clients[1], (uintptr_t)&address, length), 0);
    ck_assert_int_eq(CALL(sys_connect, clients[2], (uintptr_t)&address, length), -EAGAIN);
    ck_assert_int_eq(put(clients[1], "early"), 5);
    int first = (int)CALL(sys_accept4, server, 0, 0, O_NONBLOCK);
    int second = (int)CALL(sys_accept4, server, 0, 0, O_NONBLOCK);
    ck_assert_int_eq(take(first, 10), -EAGAIN);
    ck_assert_int_eq(take(second, 10), 5);
    ck_assert_int_eq(CALL(sys_connect, clients[2], (uintptr_t)&address, length), 0);
    ck_assert_int_eq(CALL(sys_close, server), 0); // hangs up on who was not accepted
    ck_assert_int_eq(take(clients[2], 10), 0);
    ck_assert_int_eq(put(first, "on"), 2);
    ck_assert_int_eq(take(clients[0], 10), 2);
    ck_assert_int_eq(CALL(sys_connect, (int)CALL(sys_socket, AF_UNIX, SOCK_STREAM, 0),
                          (uintptr_t)&address, length),
                     -ECONNREFUSED);
}
END_TEST

Suite *unix_socket_suite(void) {
    Suite *suite = suite_create("unix_socket");
    TCase *cases = tcase_create("sockets");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, stream);
    tcase_add_test(cases, hang_up);
    tcase_add_test(cases, much_unread);
    tcase_add_test(cases, files_travel);
    tcase_add_test(cases, cycles_are_refused);
    tcase_add_test(cases, long_chains);
    tcase_add_test(cases, datagram_limits);
    tcase_add_test(cases, backlog);
    suite_add_tcase(suite, cases);
    return suite;
}
