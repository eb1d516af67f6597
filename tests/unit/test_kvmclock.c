// SPDX-License-Identifier: BSD-2-Clause
// The paravirtual clock.
// Sources: arch/x86/guest/kvmclock.c
#include <check.h>
#include "arch/x86/guest/kvmclock.h"

// What a guest makes of it.
static uint64_t kvmclock_ns(struct kvmclock_scale scale, uint64_t ticks) {
    ticks = scale.shift < 0 ? ticks >> -scale.shift : ticks << scale.shift;
    return (uint64_t)(((unsigned __int128)ticks * scale.mul) >> 32);
}

START_TEST(scales_are_exact) {
    static const uint64_t khz[] = {50,      1000,    999999,  1000000, 1000001,
                                   2000000, 2400123, 5000000, 12345678};
    for (unsigned i = 0; i < sizeof khz / sizeof khz[0]; i++) {
        struct kvmclock_scale scale = kvmclock_scale(khz[i]);
        uint64_t second = kvmclock_ns(scale, khz[i] * 1000);
        ck_assert_uint_ge(second, 999999990);
        ck_assert_uint_le(second, 1000000000);
        uint64_t day = kvmclock_ns(scale, khz[i] * 1000 * 86400);
        ck_assert_uint_le(day, 86400000000000ull);
        ck_assert_uint_ge(day, 86400000000000ull - 100000);
    }
    ck_assert_uint_eq(kvmclock_ns(kvmclock_scale(0), 5), 0);
}
END_TEST

START_TEST(pages) {
    _Alignas(8) struct pvclock_vcpu_time_info page = {.version = 7};
    struct pvclock_wall_clock wall = {.version = 0};
    kvmclock_fill(&page, (struct kvmclock_scale){3, -1}, 100, 200, PVCLOCK_TSC_STABLE);
    ck_assert_uint_eq(page.version, 10); // even, and moved; an odd one was a torn update
    ck_assert_uint_eq(page.tsc_timestamp, 100);
    ck_assert_uint_eq(page.system_time, 200);
    ck_assert_uint_eq(page.tsc_to_system_mul, 3);
    ck_assert_int_eq(page.tsc_shift, -1);
    ck_assert_uint_eq(page.flags, 1);
    kvmclock_fill(&page, (struct kvmclock_scale){3, -1}, 101, 200, 0);
    ck_assert_uint_eq(page.version, 12);
    kvmclock_fill_wall(&wall, 1700000000123456789ull);
    ck_assert_uint_eq(wall.version, 2);
    ck_assert_uint_eq(wall.sec, 1700000000);
    ck_assert_uint_eq(wall.nsec, 123456789);
}
END_TEST

Suite *kvmclock_suite(void) {
    Suite *suite = suite_create("kvmclock");
    TCase *tests = tcase_create("kvmclock");
    tcase_add_test(tests, scales_are_exact);
    tcase_add_test(tests, pages);
    suite_add_tcase(suite, tests);
    return suite;
}
