// SPDX-License-Identifier: BSD-2-Clause
// The guest's I/O APIC.
// Sources: arch/x86/guest/ioapic.c
#include <check.h>
#include <string.h>
#include "arch/x86/guest/ioapic.h"

static struct ioapic ioapic;
static struct lapic_message last;
static int deliveries, next_result, acks, lower_on_ack;

static int deliver(struct ioapic *self, unsigned pin, const struct lapic_message *message) {
    (void)self;
    (void)pin;
    last = *message;
    deliveries++;
    return next_result;
}

static void acknowledged(struct ioapic *self, unsigned pin) {
    acks++;
    if (lower_on_ack)
        ioapic_set_line(self, pin, IRQ_SOURCE_RESAMPLE, false);
}

static const struct ioapic_ops ops = {.deliver = deliver, .acknowledged = acknowledged};

static void start(void) {
    ioapic_init(&ioapic, &ops);
    deliveries = acks = lower_on_ack = 0;
    next_result = 1;
}

static void write_index(uint8_t index, uint32_t value) {
    uint32_t select = index;
    ioapic_write(&ioapic, 0, 4, &select);
    ioapic_write(&ioapic, 0x10, 4, &value);
}

static uint32_t read_index(uint8_t index) {
    uint32_t select = index, value = 0;
    ioapic_write(&ioapic, 0, 4, &select);
    ioapic_read(&ioapic, 0x10, 4, &value);
    return value;
}

START_TEST(registers) {
    start();
    ck_assert_uint_eq(read_index(1), 0x170011);
    ck_assert_uint_eq(read_index(0x10), 0x10000);
    write_index(0, 0x05000000);
    ck_assert_uint_eq(read_index(0), 0x05000000);
    write_index(0x12, 0xffffffff);
    write_index(0x13, 0xffffffff);
    ck_assert_uint_eq(read_index(0x12), 0x0001afff); // status bits are read-only
    ck_assert_uint_eq(read_index(0x13), 0xff000000);
    ck_assert_uint_eq(read_index(0x10 + 48), 0xffffffff);
    ck_assert(ioapic_owns(&ioapic, 0xfec00010) && !ioapic_owns(&ioapic, 0xfec00100));
}
END_TEST

START_TEST(edge) {
    start();
    ck_assert_int_eq(ioapic_set_line(&ioapic, 4, IRQ_SOURCE_USER, true), -1); // masked
    ioapic_set_line(&ioapic, 4, IRQ_SOURCE_USER, false);
    write_index(0x19, 0x03000000);
    write_index(0x18, 0x0931);
    ck_assert_int_eq(ioapic_set_line(&ioapic, 4, IRQ_SOURCE_USER, true), 1);
    ck_assert_uint_eq(last.vector, 0x31);
    ck_assert_uint_eq(last.destination, 3);
    ck_assert_uint_eq(last.delivery_mode, LAPIC_DELIVER_LOWEST);
    ck_assert(last.logical && !last.level_triggered);
    ck_assert_int_eq(ioapic_set_line(&ioapic, 4, IRQ_SOURCE_USER, true), 0); // no new edge
    ck_assert_int_eq(deliveries, 1);
    ioapic_set_line(&ioapic, 4, IRQ_SOURCE_USER, false);
    ioapic_set_line(&ioapic, 4, IRQ_SOURCE_USER, true);
    ck_assert_int_eq(deliveries, 2);
    ck_assert_int_eq(ioapic_set_line(&ioapic, 24, IRQ_SOURCE_USER, true), -1);
}
END_TEST

START_TEST(level_remote_irr_and_eoi) {
    start();
    write_index(0x24, 0x8041); // pin 10
    ck_assert_int_eq(ioapic_set_line(&ioapic, 10, IRQ_SOURCE_USER, true), 1);
    ck_assert_uint_eq(read_index(0x24), 0xc041);
    ioapic_set_line(&ioapic, 10, IRQ_SOURCE_RESAMPLE, true);
    ck_assert_int_eq(deliveries, 1);
    ioapic_eoi(&ioapic, 0x42); // another vector
    ck_assert_int_eq(acks, 0);
    ioapic_eoi(&ioapic, 0x41);
    ck_assert_int_eq(acks, 1);
    ck_assert_int_eq(deliveries, 2); // line still high
    ioapic_set_line(&ioapic, 10, IRQ_SOURCE_USER, false);
    lower_on_ack = 1;
    ioapic_eoi(&ioapic, 0x41);
    ck_assert_int_eq(deliveries, 2);
    ck_assert_uint_eq(read_index(0x24), 0x8041);
}
END_TEST

START_TEST(unmask_delivers_level) {
    start();
    write_index(0x24, 0x18041);
    ioapic_set_line(&ioapic, 10, IRQ_SOURCE_USER, true);
    ck_assert_int_eq(deliveries, 0);
    write_index(0x24, 0x8041);
    ck_assert_int_eq(deliveries, 1);
    write_index(0x24, 0x18041); // mask, edge, level again: the old EOI by hand
    write_index(0x24, 0x10041);
    ck_assert_uint_eq(read_index(0x24), 0x10041);
    write_index(0x24, 0x8041);
    ck_assert_int_eq(deliveries, 2);
}
END_TEST

START_TEST(no_destination_leaves_no_remote_irr) {
    start();
    next_result = -1;
    write_index(0x24, 0x8041);
    ck_assert_int_eq(ioapic_set_line(&ioapic, 10, IRQ_SOURCE_USER, true), -1);
    ck_assert_uint_eq(read_index(0x24), 0x8041);
}
END_TEST

START_TEST(watched_edge_pin) {
    start();
    ioapic_watch(&ioapic, 1u << 2);
    write_index(0x14, 0x30);
    ck_assert_uint_eq(ioapic.eoi_watch[1], 1u << 16);
    ioapic_set_line(&ioapic, 2, IRQ_SOURCE_PIT, true);
    ioapic_eoi(&ioapic, 0x30);
    ck_assert_int_eq(acks, 1);
    write_index(0x14, 0x10030);
    ck_assert_uint_eq(ioapic.eoi_watch[1], 0);
}
END_TEST

START_TEST(state) {
    struct kvm_ioapic_state saved;
    start();
    write_index(0x24, 0x8041);
    write_index(0x26, 0x42);
    ioapic_set_line(&ioapic, 10, IRQ_SOURCE_USER, true);
    ioapic_set_line(&ioapic, 11, IRQ_SOURCE_USER, true);
    ioapic_get_state(&ioapic, &saved);
    ck_assert_uint_eq(saved.irr, 1u << 10); // the edge has been delivered
    ck_assert_uint_eq(saved.redirtbl[10].bits, 0xc041);
    start();
    ioapic_set_state(&ioapic, &saved);
    ck_assert_int_eq(deliveries, 0); // remote IRR: it is in a local APIC
    ioapic_eoi(&ioapic, 0x41);
    ck_assert_int_eq(deliveries, 1);
    saved.redirtbl[10].bits = 0x8041;
    start();
    ioapic_set_state(&ioapic, &saved);
    ck_assert_int_eq(deliveries, 1);
}
END_TEST

Suite *ioapic_suite(void) {
    Suite *suite = suite_create("ioapic");
    TCase *tests = tcase_create("ioapic");
    tcase_add_test(tests, registers);
    tcase_add_test(tests, edge);
    tcase_add_test(tests, level_remote_irr_and_eoi);
    tcase_add_test(tests, unmask_delivers_level);
    tcase_add_test(tests, no_destination_leaves_no_remote_irr);
    tcase_add_test(tests, watched_edge_pin);
    tcase_add_test(tests, state);
    suite_add_tcase(suite, tests);
    return suite;
}
