// SPDX-License-Identifier: BSD-2-Clause
// The record of a packed ring's requests, as a back end finds it that died between two steps.
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "drivers/vhost_user/inflight_packed.h"

Suite *inflight_packed_suite(void);

#define SIZE 8
#define BASE 0x80008000u

static struct inflight_packed_ring *ring;
static struct vring_packed_desc descriptors[SIZE], chain[SIZE];
static uint16_t entries[SIZE];
static uint64_t next_counter;
static int first, second;

// Chains of three and of two descriptors in flight.
static void start(void) {
    uint32_t base = BASE;

    ring = calloc(1, inflight_packed_size(SIZE));
    for (uint16_t i = 0; i < SIZE; i++)
        descriptors[i] =
            (struct vring_packed_desc){i * 0x100ull, i, i, 1u << VRING_PACKED_DESC_F_AVAIL};
    ck_assert_int_eq(inflight_packed_open(ring, SIZE, descriptors, &base), 0);
    ck_assert_uint_eq(base, BASE);
    first = inflight_packed_begin(ring, SIZE, descriptors, 3, 0);
    second = inflight_packed_begin(ring, SIZE, descriptors + 3, 2, 1);
    ck_assert_int_ge(first, 0);
    ck_assert_int_ge(second, 0);
}

static unsigned reopen(uint32_t *base) {
    ck_assert_int_eq(inflight_packed_open(ring, SIZE, descriptors, base), 0);
    return inflight_packed_list(ring, SIZE, entries, &next_counter);
}

START_TEST(test_chains) {
    uint32_t base = 0;

    start();
    ck_assert_uint_eq(reopen(&base), 2);
    ck_assert_uint_eq(base, 5 | 0x80008000u); // five are taken, none is given back
    ck_assert_uint_eq(entries[0], first);
    ck_assert_int_eq(inflight_packed_chain(ring, SIZE, entries[1], chain), 2);
    ck_assert_mem_eq(chain, descriptors + 3, 2 * sizeof(chain[0]));
    ck_assert_uint_eq(next_counter, 2);
    // The rest of the ring, and nothing beyond it.
    ck_assert_int_ge(inflight_packed_begin(ring, SIZE, descriptors + 5, 3, 2), 0);
    ck_assert_uint_eq(reopen(&base), 3);
    ck_assert_uint_eq(base, 0 | 0x80000000u); // once around
    ck_assert_int_eq(inflight_packed_begin(ring, SIZE, descriptors, 1, 3), -EPROTO);
    free(ring);
}
END_TEST

START_TEST(test_death_before_the_ring) {
    uint32_t base;

    start();
    inflight_packed_commit(ring, SIZE, (uint16_t)second, 0x8002);
    // The driver has not seen it: it is done again.
    ck_assert_uint_eq(reopen(&base), 2);
    ck_assert_uint_eq(base, 5 | 0x80008000u);
    free(ring);
}
END_TEST

START_TEST(test_death_after_the_ring) {
    uint32_t base;

    start();
    inflight_packed_commit(ring, SIZE, (uint16_t)second, 0x8002);
    descriptors[0].flags =
        (uint16_t)(1u << VRING_PACKED_DESC_F_AVAIL | 1u << VRING_PACKED_DESC_F_USED);
    if (_i) // and the driver has used the place again
        descriptors[0].flags = 1u << VRING_PACKED_DESC_F_USED;
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(reopen(&base), 1);
        ck_assert_uint_eq(base, 5 | 0x8000u | 0x80020000u);
        ck_assert_uint_eq(entries[0], first);
    }
    inflight_packed_commit(ring, SIZE, (uint16_t)first, 0x8005);
    inflight_packed_end(ring, (uint16_t)first);
    ck_assert_uint_eq(reopen(&base), 0);
    ck_assert_uint_eq(base, 5 | 0x8000u | 0x80050000u);
    // All entries are free again, whatever the order they came back in.
    ck_assert_int_ge(inflight_packed_begin(ring, SIZE, descriptors, 8, 5), 0);
    free(ring);
}
END_TEST

START_TEST(test_not_taken) {
    uint32_t base;

    start();
    inflight_packed_cancel(ring, SIZE, (uint16_t)second);
    ck_assert_uint_eq(reopen(&base), 1);
    ck_assert_uint_eq(base, 3 | 0x80008000u);
    ck_assert_int_ge(inflight_packed_begin(ring, SIZE, descriptors, 5, 5), 0);
    free(ring);
}
END_TEST

static void open_damaged(unsigned seed) {
    size_t size = inflight_packed_size(SIZE);
    uint32_t base = BASE;

    start();
    srandom(seed);
    for (int i = 0; i < 6; i++)
        ((uint8_t *)ring)[12 + (size_t)random() % (size - 12)] = (uint8_t)random();
    if (inflight_packed_open(ring, SIZE, descriptors, &base) == 0) {
        unsigned count = inflight_packed_list(ring, SIZE, entries, &next_counter);
        ck_assert_uint_le(count, SIZE);
        for (unsigned i = 0; i < count; i++)
            if (inflight_packed_chain(ring, SIZE, entries[i], chain) > 0) {
                inflight_packed_commit(ring, SIZE, entries[i], (uint16_t)i);
                inflight_packed_end(ring, entries[i]);
            }
        inflight_packed_begin(ring, SIZE, descriptors, 3, 9);
    }
    free(ring);
}

// Whatever a front end writes into it, nothing outside is touched.
START_TEST(test_hostile) {
    for (unsigned seed = 0; seed < 500; seed++)
        open_damaged(seed);
}
END_TEST

Suite *inflight_packed_suite(void) {
    Suite *suite = suite_create("inflight_packed");
    TCase *tests = tcase_create("inflight_packed");

    tcase_add_test(tests, test_chains);
    tcase_add_test(tests, test_death_before_the_ring);
    tcase_add_loop_test(tests, test_death_after_the_ring, 0, 2);
    tcase_add_test(tests, test_not_taken);
    tcase_add_test(tests, test_hostile);
    suite_add_tcase(suite, tests);
    return suite;
}
