// SPDX-License-Identifier: BSD-2-Clause
// The timers' pairing heap.
#include "core/sched/timer_heap.h"
#include <check.h>
#include <stdlib.h>

#define COUNT 1000

Suite *timer_heap_suite(void);

START_TEST(comes_out_in_order) {
    static struct timer timer[COUNT];
    struct timer *root = NULL;
    srand(2);
    for (unsigned i = 0; i < COUNT; i++) {
        timer[i].deadline = (uint64_t)rand() % 500;
        root = timer_heap_insert(root, &timer[i]);
    }
    uint64_t last = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        ck_assert_ptr_nonnull(root);
        ck_assert_uint_ge(root->deadline, last);
        last = root->deadline;
        root = timer_heap_remove(root, root);
    }
    ck_assert_ptr_null(root);
}
END_TEST

static uint64_t least(const struct timer *timer, const bool *inside) {
    uint64_t deadline = UINT64_MAX;
    for (unsigned i = 0; i < COUNT; i++)
        if (inside[i] && timer[i].deadline < deadline)
            deadline = timer[i].deadline;
    return deadline;
}

START_TEST(any_timer_can_be_stopped) {
    static struct timer timer[COUNT];
    static bool inside[COUNT];
    struct timer *root = NULL;
    srand(3);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned i = (unsigned)rand() % COUNT;
        if (inside[i]) {
            root = timer_heap_remove(root, &timer[i]);
        } else {
            timer[i].deadline = (uint64_t)rand();
            root = timer_heap_insert(root, &timer[i]);
        }
        inside[i] = !inside[i];
        ck_assert_uint_eq(root ? root->deadline : UINT64_MAX, least(timer, inside));
    }
}
END_TEST

START_TEST(alone) {
    struct timer timer = {.deadline = 7};
    struct timer *root = timer_heap_insert(NULL, &timer);
    ck_assert_ptr_eq(root, &timer);
    ck_assert_ptr_null(timer_heap_remove(root, &timer));
}
END_TEST

Suite *timer_heap_suite(void) {
    Suite *suite = suite_create("timer_heap");
    TCase *tests = tcase_create("timer_heap");
    tcase_add_test(tests, comes_out_in_order);
    tcase_add_test(tests, any_timer_can_be_stopped);
    tcase_add_test(tests, alone);
    suite_add_tcase(suite, tests);
    return suite;
}
