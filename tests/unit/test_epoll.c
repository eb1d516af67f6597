// SPDX-License-Identifier: BSD-2-Clause
// epoll over eventfds and pipes: triggers, nesting, files that go away.
#include <asm/fcntl.h>
#include <check.h>
#include <linux/errno.h>
#include <linux/eventpoll.h>
#include "core/file/epoll.h"
#include "core/file/eventfd.h"
#include "core/process/system_call.h"
#include "tests/unit/fake_memory.h"
#include "tests/unit/fake_process.h"

// Sources: core/file/descriptor_calls.c core/file/pipe.c core/process/time.c
// Sources: tests/unit/fake_process.c

Suite *epoll_suite(void);

static int epoll, counter;
static struct epoll_event found[8];

static int add(int to, int fd, uint32_t events, uint64_t data) {
    struct epoll_event event = {.events = events, .data = data};
    return (int)CALL(sys_epoll_ctl, to, EPOLL_CTL_ADD, fd, (uintptr_t)&event);
}

static int look(int from) {
    return (int)CALL(sys_epoll_wait, from, (uintptr_t)found, 8, 0);
}

static void signal_counter(void) {
    uint64_t one = 1;
    ck_assert_int_eq(CALL(sys_write, counter, (uintptr_t)&one, 8), 8);
}

static void drain_counter(void) {
    uint64_t value;
    ck_assert_int_eq(CALL(sys_read, counter, (uintptr_t)&value, 8), 8);
}

static void start(void) {
    fake_process_start();
    epoll = (int)CALL(sys_epoll_create1, 0);
    counter = (int)CALL(sys_eventfd2, 0, O_NONBLOCK);
}

START_TEST(level) {
    ck_assert_int_eq(add(epoll, counter, EPOLLIN, 5), 0);
    ck_assert_int_eq(look(epoll), 0);
    signal_counter();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(look(epoll), 1);
        ck_assert_uint_eq(found[0].events, EPOLLIN);
        ck_assert_uint_eq(found[0].data, 5);
    }
    drain_counter();
    ck_assert_int_eq(look(epoll), 0);
}
END_TEST

START_TEST(edge) {
    ck_assert_int_eq(add(epoll, counter, EPOLLIN | EPOLLET, 0), 0);
    signal_counter();
    ck_assert_int_eq(look(epoll), 1);
    ck_assert_int_eq(look(epoll), 0);
    signal_counter();
    ck_assert_int_eq(look(epoll), 1);
    ck_assert_int_eq(look(epoll), 0);
}
END_TEST

START_TEST(one_shot) {
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    ck_assert_int_eq(add(epoll, counter, EPOLLIN | EPOLLONESHOT, 0), 0);
    signal_counter();
    ck_assert_int_eq(look(epoll), 1);
    signal_counter();
    ck_assert_int_eq(look(epoll), 0);
    ck_assert_int_eq(CALL(sys_epoll_ctl, epoll, EPOLL_CTL_MOD, counter, (uintptr_t)&event), 0);
    ck_assert_int_eq(look(epoll), 1);
}
END_TEST

START_TEST(hang_up_comes_unasked) {
    int ends[2];
    ck_assert_int_eq(CALL(sys_pipe2, (uintptr_t)ends, 0), 0);
    ck_assert_int_eq(add(epoll, ends[0], 0, 3), 0);
    ck_assert_int_eq(look(epoll), 0);
    ck_assert_int_eq(CALL(sys_close, ends[1]), 0);
    ck_assert_int_eq(look(epoll), 1);
    ck_assert_uint_eq(found[0].events, EPOLLHUP);
}
END_TEST

START_TEST(waits) {
    ck_assert_int_eq(add(epoll, counter, EPOLLIN, 0), 0);
    fake_on_wait(signal_counter);
    ck_assert_int_eq(CALL(sys_epoll_wait, epoll, (uintptr_t)found, 8, -1), 1);
    drain_counter();
    ck_assert_int_eq(CALL(sys_epoll_wait, epoll, (uintptr_t)found, 8, -1), -EINTR);
    uint64_t before = fake_time;
    ck_assert_int_eq(CALL(sys_epoll_wait, epoll, (uintptr_t)found, 8, 3), 0);
    ck_assert_uint_eq(fake_time - before, 3000000);
}
END_TEST

START_TEST(fair_with_few_slots) {
    int seen[4] = {0};
    for (int i = 0; i < 4; i++) {
        int fd = (int)CALL(sys_eventfd, 1);
        ck_assert_int_eq(add(epoll, fd, EPOLLIN, (uint64_t)i), 0);
    }
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(CALL(sys_epoll_wait, epoll, (uintptr_t)found, 1, 0), 1);
        seen[found[0].data]++;
    }
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(seen[i], 1);
}
END_TEST

START_TEST(nesting) {
    int chain[8];
    for (int i = 0; i < 8; i++)
        chain[i] = (int)CALL(sys_epoll_create1, 0);
    ck_assert_int_eq(add(chain[0], counter, EPOLLIN, 0), 0);
    for (int i = 1; i < 5; i++)
        ck_assert_int_eq(add(chain[i], chain[i - 1], EPOLLIN, 0), 0);
    ck_assert_int_eq(add(chain[5], chain[4], EPOLLIN, 0), -ELOOP); // too deep
    ck_assert_int_eq(add(chain[6], chain[5], EPOLLIN, 0), 0);
    ck_assert_int_eq(add(chain[5], chain[6], EPOLLIN, 0), -ELOOP); // a circle
    ck_assert_int_eq(add(chain[0], chain[6], EPOLLIN, 0), -ELOOP); // five above, two below
    ck_assert_int_eq(add(chain[0], chain[0], EPOLLIN, 0), -EINVAL);
    ck_assert_int_eq(look(chain[4]), 0);
    signal_counter();
    ck_assert_int_eq(look(chain[4]), 1);
    drain_counter();
    ck_assert_int_eq(look(chain[4]), 0);
}
END_TEST

START_TEST(files_go_away) {
    ck_assert_int_eq(add(epoll, counter, EPOLLIN, 0), 0);
    signal_counter();
    ck_assert_int_eq(CALL(sys_close, counter), 0);
    ck_assert_int_eq(look(epoll), 0);
    // The same fd, and likely the same struct file: a new registration, not the old one.
    counter = (int)CALL(sys_eventfd, 1);
    ck_assert_int_eq(look(epoll), 0);
    ck_assert_int_eq(add(epoll, counter, EPOLLIN, 6), 0);
    ck_assert_int_eq(look(epoll), 1);
    ck_assert_int_eq(CALL(sys_close, epoll), 0);
    signal_counter(); // no waiter of the epoll is left on the counter's queue
}
END_TEST

// Of a file, and of an epoll: interrupts come between.
START_TEST(many_go_away) {
    enum { ITEMS = 500 };
    int other = (int)CALL(sys_eventfd, 0);
    for (int i = 0; i < ITEMS; i++) {
        int twin = (int)CALL(sys_dup, counter), kept = (int)CALL(sys_dup, other);
        ck_assert_int_eq(add(epoll, twin, EPOLLIN, 0), 0);
        ck_assert_int_eq(add(epoll, kept, EPOLLIN, 0), 0);
    }
    for (int fd = other + 1; fd < other + 2 * ITEMS; fd += 2)
        ck_assert_int_eq(CALL(sys_close, fd), 0);
    fake_preemption_points = 0;
    ck_assert_int_eq(CALL(sys_close, counter), 0);
    ck_assert_uint_ge(fake_preemption_points, ITEMS);
    fake_preemption_points = 0;
    ck_assert_int_eq(CALL(sys_close, epoll), 0);
    ck_assert_uint_ge(fake_preemption_points, ITEMS);
}
END_TEST

START_TEST(refused) {
    struct epoll_event event = {.events = EPOLLIN};
    ck_assert_int_eq(add(epoll, counter, EPOLLIN, 0), 0);
    ck_assert_int_eq(add(epoll, counter, EPOLLIN, 0), -EEXIST);
    ck_assert_int_eq(add(epoll, 99, EPOLLIN, 0), -EBADF);
    ck_assert_int_eq(add(counter, epoll, EPOLLIN, 0), -EINVAL);
    ck_assert_int_eq(CALL(sys_epoll_ctl, epoll, EPOLL_CTL_DEL, counter, 0), 0);
    ck_assert_int_eq(CALL(sys_epoll_ctl, epoll, EPOLL_CTL_DEL, counter, 0), -ENOENT);
    ck_assert_int_eq(CALL(sys_epoll_ctl, epoll, 9, counter, (uintptr_t)&event), -EINVAL);
    ck_assert_int_eq(CALL(sys_epoll_wait, epoll, (uintptr_t)found, 0, 0), -EINVAL);
    ck_assert_int_eq(CALL(sys_epoll_wait, counter, (uintptr_t)found, 1, 0), -EINVAL);
    ck_assert_int_eq(CALL(sys_epoll_create, 0), -EINVAL);
}
END_TEST

Suite *epoll_suite(void) {
    Suite *suite = suite_create("epoll");
    TCase *cases = tcase_create("epoll");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, level);
    tcase_add_test(cases, edge);
    tcase_add_test(cases, one_shot);
    tcase_add_test(cases, hang_up_comes_unasked);
    tcase_add_test(cases, waits);
    tcase_add_test(cases, fair_with_few_slots);
    tcase_add_test(cases, nesting);
    tcase_add_test(cases, files_go_away);
    tcase_add_test(cases, many_go_away);
    tcase_add_test(cases, refused);
    suite_add_tcase(suite, cases);
    return suite;
}
