// SPDX-License-Identifier: BSD-2-Clause
// The record of requests in flight, as a back end finds it that died at any store.
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include "drivers/vhost_user/inflight.h"

Suite *inflight_suite(void);

#define SIZE 16

static struct vhost_user_inflight_ring *ring;
static uint16_t heads[SIZE];
static uint64_t next_counter;

static void start(void) {
    ring = calloc(1, inflight_ring_size(SIZE));
    ck_assert_ptr_nonnull(ring);
    ck_assert_int_eq(inflight_open(ring, SIZE, 0), 0);
    ck_assert_uint_eq(inflight_list(ring, SIZE, heads, &next_counter), 0);
    ck_assert_uint_eq(next_counter, 1); // the states' are 0
    for (uint16_t i = 0; i < 4; i++)
        inflight_begin(ring, (uint16_t)(9 - 2 * i), next_counter++);
}

START_TEST(test_order) {
    start();
    ck_assert_uint_eq(inflight_list(ring, SIZE, heads, &next_counter), 4);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(heads[i], 9 - 2 * i);
    ck_assert_uint_eq(next_counter, 5);
    inflight_commit(ring, 7);
    inflight_end(ring, 7, 1);
    inflight_begin(ring, 7, next_counter);
    ck_assert_uint_eq(inflight_list(ring, SIZE, heads, &next_counter), 4);
    ck_assert_uint_eq(heads[0], 9);
    ck_assert_uint_eq(heads[3], 7); // taken again: the last
    free(ring);
}
END_TEST

START_TEST(test_death_before_the_used_ring) {
    start();
    inflight_commit(ring, 5);
    // The used index has not moved: the request is done again.
    ck_assert_int_eq(inflight_open(ring, SIZE, 0), 0);
    ck_assert_uint_eq(inflight_list(ring, SIZE, heads, &next_counter), 4);
    free(ring);
}
END_TEST

START_TEST(test_death_after_the_used_ring) {
    start();
    inflight_commit(ring, 5);
    // The driver has it already: it must not be done, nor given back, again.
    ck_assert_int_eq(inflight_open(ring, SIZE, 1), 0);
    ck_assert_uint_eq(inflight_list(ring, SIZE, heads, &next_counter), 3);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_ne(heads[i], 5);
    ck_assert_int_eq(inflight_open(ring, SIZE, 1), 0);
    ck_assert_uint_eq(inflight_list(ring, SIZE, heads, &next_counter), 3);
    free(ring);
}
END_TEST

START_TEST(test_foreign_record) {
    start();
    ck_assert_int_eq(inflight_open(ring, SIZE / 2, 0), -EINVAL);
    inflight_commit(ring, SIZE);
    ck_assert_int_eq(inflight_open(ring, SIZE, 0), -EINVAL);
    free(ring);
}
END_TEST

Suite *inflight_suite(void) {
    Suite *suite = suite_create("inflight");
    TCase *tests = tcase_create("inflight");

    tcase_add_test(tests, test_order);
    tcase_add_test(tests, test_death_before_the_used_ring);
    tcase_add_test(tests, test_death_after_the_used_ring);
    tcase_add_test(tests, test_foreign_record);
    suite_add_tcase(suite, tests);
    return suite;
}
