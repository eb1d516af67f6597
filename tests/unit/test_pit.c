// SPDX-License-Identifier: BSD-2-Clause
// The guest's 8254.
// Sources: arch/x86/guest/pit.c
#include <check.h>
#include "arch/x86/guest/pit.h"

static struct pit pit;
static uint64_t now;
static int edges, irq_result, changes;

static uint64_t now_ns(struct pit *self) {
    (void)self;
    return now;
}

static int set_irq(struct pit *self, bool level) {
    (void)self;
    edges += level;
    return irq_result;
}

static void timer_changed(struct pit *self) {
    (void)self;
    changes++;
}

static const struct pit_ops ops = {
    .now_ns = now_ns, .set_irq = set_irq, .timer_changed = timer_changed};

static void start(void) {
    now = 5000;
    edges = changes = 0;
    irq_result = 1;
    pit_init(&pit, KVM_PIT_SPEAKER_DUMMY, &ops);
}

static void program(unsigned channel, unsigned mode, uint16_t count) {
    pit_write(&pit, 0x43, (uint8_t)(channel << 6 | 0x30 | mode << 1));
    pit_write(&pit, (uint16_t)(0x40 + channel), (uint8_t)count);
    pit_write(&pit, (uint16_t)(0x40 + channel), (uint8_t)(count >> 8));
}

static unsigned read_word(unsigned channel) {
    unsigned low = pit_read(&pit, (uint16_t)(0x40 + channel));
    return low | (unsigned)pit_read(&pit, (uint16_t)(0x40 + channel)) << 8;
}

static uint64_t ns(uint64_t ticks) {
    return ticks * 1000000000 / 1193182 + 1;
}

START_TEST(periodic_interrupt) {
    start();
    ck_assert_uint_eq(pit.deadline_ns, PIT_NEVER);
    program(0, 2, 11932); // 100 Hz
    uint64_t first = pit.deadline_ns;
    ck_assert_uint_ge(first, 5000 + 10000000);
    ck_assert_uint_le(first, 5000 + 10001000);
    pit_expired(&pit);
    ck_assert_int_eq(edges, 0); // early
    now = first;
    pit_expired(&pit);
    ck_assert_int_eq(edges, 1);
    ck_assert_uint_eq(pit.deadline_ns, first + pit.period_ns);
}
END_TEST

// The host would do nothing but expire a timer of one count, 838 ns.
START_TEST(short_period_is_lengthened) {
    start();
    program(0, 2, 1);
    now = pit.deadline_ns;
    ck_assert_uint_le(now, 5000 + 1000);
    pit_expired(&pit);
    ck_assert_int_eq(edges, 1);
    ck_assert_uint_eq(pit.deadline_ns, now + 200000);
    program(0, 2, 300); // 251 us
    ck_assert_uint_eq(pit.deadline_ns, now + pit.period_ns);
    ck_assert_uint_lt(pit.period_ns, 252000);
    ck_assert_uint_gt(pit.period_ns, 251000);
}
END_TEST

START_TEST(reinjection) {
    start();
    program(0, 2, 11932);
    now = pit.deadline_ns + 2 * pit.period_ns; // three ticks at once
    pit_expired(&pit);
    ck_assert_int_eq(edges, 1);
    pit_irq_acknowledged(&pit);
    ck_assert_int_eq(edges, 2);
    pit_irq_acknowledged(&pit);
    ck_assert_int_eq(edges, 3);
    pit_irq_acknowledged(&pit);
    ck_assert_int_eq(edges, 3);
    pit_set_reinject(&pit, false);
    now = pit.deadline_ns + 2 * pit.period_ns;
    pit_expired(&pit);
    pit_irq_acknowledged(&pit);
    ck_assert_int_eq(edges, 4);
}
END_TEST

START_TEST(masked_ticks_are_not_kept) {
    start();
    irq_result = -1;
    program(0, 2, 11932);
    now = pit.deadline_ns + 5 * pit.period_ns;
    pit_expired(&pit);
    ck_assert_uint_eq(pit.pending_ticks, 0);
    irq_result = 1;
    now = pit.deadline_ns;
    pit_expired(&pit);
    pit_irq_acknowledged(&pit);
    ck_assert_int_eq(edges, 2);
}
END_TEST

START_TEST(lost_acknowledgement_recovers) {
    start();
    program(0, 2, 11932);
    for (int i = 0; i < 20; i++) {
        now = pit.deadline_ns;
        pit_expired(&pit);
    }
    ck_assert_int_gt(edges, 2);
    ck_assert_int_lt(edges, 20);
}
END_TEST

START_TEST(one_shot) {
    start();
    program(0, 0, 1000);
    now = pit.deadline_ns;
    pit_expired(&pit);
    ck_assert_int_eq(edges, 1);
    ck_assert_uint_eq(pit.deadline_ns, PIT_NEVER);
}
END_TEST

START_TEST(counting_and_latch) {
    start();
    program(0, 2, 1000);
    now += ns(100);
    ck_assert_uint_eq(read_word(0), 900);
    pit_write(&pit, 0x43, 0x00); // latch channel 0
    now += ns(100);
    ck_assert_uint_eq(read_word(0), 900);
    ck_assert_uint_eq(read_word(0), 800);
    now += ns(1000);
    ck_assert_uint_eq(read_word(0), 800);
    pit_write(&pit, 0x43, 0xc2); // read back count and status of channel 0
    ck_assert_uint_eq(pit_read(&pit, 0x40), 0xb4);
    ck_assert_uint_eq(read_word(0), 800);
    program(1, 0, 100);
    now += ns(150);
    ck_assert_uint_eq(read_word(1), 0xffff & (100 - 150));
    program(1, 3, 1000);
    now += ns(100);
    ck_assert_uint_eq(read_word(1), 800); // by two
    program(1, 2, 0);
    now += ns(1);
    ck_assert_uint_eq(read_word(1), 0xffff);
}
END_TEST

START_TEST(byte_access_modes) {
    start();
    pit_write(&pit, 0x43, 0x54); // channel 1, low byte, mode 2
    pit_write(&pit, 0x41, 200);
    now += ns(50);
    ck_assert_uint_eq(pit_read(&pit, 0x41), 150);
    pit_write(&pit, 0x43, 0x64); // high byte
    pit_write(&pit, 0x41, 2);
    now += ns(256);
    ck_assert_uint_eq(pit_read(&pit, 0x41), 1);
    ck_assert_uint_eq(pit.channels[1].count, 0x200);
}
END_TEST

START_TEST(speaker_calibration) { // what firmware and kernels time the TSC with
    start();
    pit_write(&pit, 0x61, 0x00);
    program(2, 0, 1193); // 1 ms
    pit_write(&pit, 0x61, 0x01);
    ck_assert_uint_eq(pit_read(&pit, 0x61) & 0x21, 0x01);
    now += 900000;
    ck_assert_uint_eq(pit_read(&pit, 0x61) & 0x20, 0);
    now += 110000;
    ck_assert_uint_eq(pit_read(&pit, 0x61) & 0x20, 0x20);
    pit_write(&pit, 0x61, 0x03);
    ck_assert_uint_eq(pit_read(&pit, 0x61) & 0x03, 0x03);
    ck_assert(pit_owns(&pit, 0x61) && pit_owns(&pit, 0x43) && !pit_owns(&pit, 0x44));
    pit_init(&pit, 0, &ops);
    ck_assert(!pit_owns(&pit, 0x61));
}
END_TEST

START_TEST(state) {
    struct kvm_pit_state2 saved;
    start();
    program(0, 2, 11932);
    pit_write(&pit, 0x61, 0x02);
    pit_get_state(&pit, &saved);
    ck_assert_uint_eq(saved.flags, KVM_PIT_FLAGS_SPEAKER_DATA_ON);
    start();
    now = 77000;
    saved.channels[1].mode = 9;
    saved.channels[1].count = 0xffffffff;
    pit_set_state(&pit, &saved);
    ck_assert_uint_eq(pit.deadline_ns, 77000 + pit.period_ns);
    ck_assert(pit.speaker_data_on);
    ck_assert_uint_eq(pit.channels[1].count, 0x10000);
    ck_assert_uint_lt(pit.channels[1].mode, 6);
    saved.flags = KVM_PIT_FLAGS_HPET_LEGACY;
    pit_set_state(&pit, &saved);
    ck_assert_uint_eq(pit.deadline_ns, PIT_NEVER);
}
END_TEST

Suite *pit_suite(void) {
    Suite *suite = suite_create("pit");
    TCase *tests = tcase_create("pit");
    tcase_add_test(tests, periodic_interrupt);
    tcase_add_test(tests, short_period_is_lengthened);
    tcase_add_test(tests, reinjection);
    tcase_add_test(tests, masked_ticks_are_not_kept);
    tcase_add_test(tests, lost_acknowledgement_recovers);
    tcase_add_test(tests, one_shot);
    tcase_add_test(tests, counting_and_latch);
    tcase_add_test(tests, byte_access_modes);
    tcase_add_test(tests, speaker_calibration);
    tcase_add_test(tests, state);
    suite_add_tcase(suite, tests);
    return suite;
}
