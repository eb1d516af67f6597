// SPDX-License-Identifier: BSD-2-Clause
// A CPU's timer queue, and what it asks of the hardware.
#include <check.h>
#include "core/sched/timer_heap.h"
#include "tests/unit/fake_process.h"

// virtd, which the tests are linked with too, has functions of these names.
#define timer_start kernel_timer_start
#define timer_stop  kernel_timer_stop
#include "core/sched/timer.c" // NOLINT(bugprone-suspicious-include): renamed

// Sources: core/mm/heap.c core/mm/page.c core/mm/numa.c
// Sources: tests/unit/fake_process.c tests/unit/fake_memory.c

enum { COST = 300 }; // ns an expiry takes

Suite *timer_suite(void);

static uint64_t hardware; // what its timer is set to
static unsigned expiries;

struct cpu *cpu_at(unsigned index) {
    (void)index;
    return this_cpu();
}

void cpu_timer_set(uint64_t deadline) {
    hardware = deadline;
}

static void start(void) {
    fake_process_start();
    ck_assert_int_eq(timer_cpu_init(this_cpu()), 0);
    hardware = TIME_NEVER;
}

static void once(struct timer *timer) {
    (void)timer;
    expiries++;
}

static void again(struct timer *timer) {
    expiries++;
    fake_time += COST;
    timer_start(timer, timer->deadline + 100);
}

START_TEST(in_time) {
    struct timer first, second;
    timer_init(&first, once);
    timer_init(&second, once);
    timer_start(&second, 9000);
    timer_start(&first, 5000);
    ck_assert_uint_eq(hardware, 5000);
    fake_time = 5000;
    timer_interrupt();
    ck_assert_uint_eq(expiries, 1);
    ck_assert_uint_eq(hardware, 9000);
    ck_assert(timer_stop(&second));
    fake_time = 9000;
    timer_interrupt();
    ck_assert_uint_eq(expiries, 1);
    ck_assert_uint_eq(hardware, TIME_NEVER);
}
END_TEST

static void held_up(struct timer *timer) {
    (void)timer;
    fake_time += 1000000000;
}

// The host of an emulator held it up while a timer expired: what else is due waits no second more.
START_TEST(after_a_pause) {
    struct timer timers[EXPIRY_BATCH + 1];
    for (unsigned i = 0; i <= EXPIRY_BATCH; i++) {
        timer_init(&timers[i], i ? once : held_up);
        timer_start(&timers[i], 2000 + i);
    }
    fake_time = 3000;
    timer_interrupt();
    ck_assert_uint_eq(expiries, EXPIRY_BATCH - 1);
    ck_assert_uint_gt(hardware, fake_time);
    ck_assert_uint_le(hardware, fake_time + 10000000);
}
END_TEST

// Timers that are due faster than they can be served leave half of the time to others.
START_TEST(storm) {
    struct timer timer[3];
    for (unsigned i = 0; i < 3; i++) {
        timer_init(&timer[i], again);
        timer_start(&timer[i], 2000);
    }
    fake_time = 2000;
    for (unsigned i = 0; i < 5; i++) {
        uint64_t begin = fake_time;
        timer_interrupt();
        ck_assert_uint_gt(fake_time, begin);
        ck_assert_uint_ge(hardware - fake_time, fake_time - begin);
        ck_assert_uint_lt(hardware - fake_time, 2 * (fake_time - begin));
        fake_time = hardware;
    }
    ck_assert_uint_ge(expiries, 5);
}
END_TEST

// A deadline in ticks of a TSC may have more bits than one in ns: the hardware gets none that would
// be in the past.
START_TEST(far) {
    struct timer timer;
    timer_init(&timer, once);
    timer_start(&timer, TIME_NEVER - 1);
    ck_assert_uint_le(hardware, UINT64_MAX / 8);
    fake_time = hardware / 2;
    timer_interrupt();
    ck_assert_uint_eq(expiries, 0);
    ck_assert_uint_le(hardware, UINT64_MAX / 8);
    ck_assert_uint_gt(hardware, fake_time);
    timer_start(&timer, TIME_NEVER);
    timer_interrupt();
    ck_assert_uint_eq(hardware, TIME_NEVER);
}
END_TEST

Suite *timer_suite(void) {
    Suite *suite = suite_create("timer");
    TCase *cases = tcase_create("timer");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, in_time);
    tcase_add_test(cases, storm);
    tcase_add_test(cases, after_a_pause);
    tcase_add_test(cases, far);
    suite_add_tcase(suite, cases);
    return suite;
}
