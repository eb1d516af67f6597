// SPDX-License-Identifier: BSD-2-Clause
// The guest's 8259 pair.
// Sources: arch/x86/guest/pic.c
#include <check.h>
#include "arch/x86/guest/pic.h"

static struct pic pic;
static int changes, acks, last_ack;

static void output_changed(struct pic *self, bool level) {
    ck_assert(self->output == level);
    changes++;
}

static void acknowledged(struct pic *self, unsigned irq) {
    (void)self;
    acks++;
    last_ack = (int)irq;
}

static const struct pic_ops ops = {.output_changed = output_changed, .acknowledged = acknowledged};

static void program(uint8_t icw4) {
    pic_init(&pic, &ops);
    pic_write(&pic, 0x20, 0x11);
    pic_write(&pic, 0x21, 0x30);
    pic_write(&pic, 0x21, 0x04);
    pic_write(&pic, 0x21, icw4);
    pic_write(&pic, 0xa0, 0x11);
    pic_write(&pic, 0xa1, 0x38);
    pic_write(&pic, 0xa1, 0x02);
    pic_write(&pic, 0xa1, icw4);
    pic_write(&pic, 0x21, 0);
    pic_write(&pic, 0xa1, 0);
    changes = acks = 0;
    last_ack = -1;
}

static int raise(unsigned irq) {
    return pic_set_line(&pic, irq, IRQ_SOURCE_USER, true);
}

static int lower(unsigned irq) {
    return pic_set_line(&pic, irq, IRQ_SOURCE_USER, false);
}

START_TEST(priority_and_eoi) {
    program(1);
    ck_assert_int_eq(raise(4), 1);
    ck_assert(pic.output);
    raise(1);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x31);
    ck_assert(!pic.output); // 4 waits below 1
    pic_write(&pic, 0x20, 0x20);
    ck_assert_int_eq(last_ack, 1);
    ck_assert(pic.output);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x34);
    pic_write(&pic, 0x20, 0x64); // specific EOI of 4
    ck_assert_int_eq(last_ack, 4);
    ck_assert(!pic.output);
    ck_assert_int_eq(raise(4), 1); // line has not dropped: no edge
    ck_assert(!pic.output);
    lower(4);
    raise(4);
    ck_assert(pic.output);
}
END_TEST

START_TEST(masked_and_coalesced) {
    program(1);
    pic_write(&pic, 0x21, 0x10);
    ck_assert_int_eq(raise(4), -1);
    ck_assert(!pic.output);
    pic_write(&pic, 0x21, 0);
    ck_assert(pic.output); // latched while masked
    lower(4);
    ck_assert_int_eq(raise(4), 0);
    ck_assert_uint_eq(pic_read(&pic, 0x20), 0x10);
    ck_assert_uint_eq(pic_read(&pic, 0x21), 0);
}
END_TEST

START_TEST(cascade) {
    program(1);
    raise(12);
    ck_assert(pic.output);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x3c);
    pic_write(&pic, 0x20, 0x0b); // read ISR
    pic_write(&pic, 0xa0, 0x0b);
    ck_assert_uint_eq(pic_read(&pic, 0x20), 0x04);
    ck_assert_uint_eq(pic_read(&pic, 0xa0), 0x10);
    pic_write(&pic, 0xa0, 0x20);
    ck_assert_int_eq(last_ack, 12);
    pic_write(&pic, 0x20, 0x20);
    ck_assert_uint_eq(pic_read(&pic, 0x20), 0);
}
END_TEST

START_TEST(level_triggered) {
    program(1);
    pic_write(&pic, 0x4d0, 0xff);
    ck_assert_uint_eq(pic_read(&pic, 0x4d0), 0xf8);
    raise(5);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x35);
    pic_write(&pic, 0x20, 0x20);
    ck_assert(pic.output); // still high
    lower(5);
    ck_assert(!pic.output);
    // Two holders of one line.
    raise(5);
    pic_set_line(&pic, 5, IRQ_SOURCE_RESAMPLE, true);
    lower(5);
    ck_assert(pic.output);
    pic_set_line(&pic, 5, IRQ_SOURCE_RESAMPLE, false);
    ck_assert(!pic.output);
}
END_TEST

START_TEST(spurious) {
    program(1);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x37);
    ck_assert_uint_eq(pic.chips[0].isr, 0);
}
END_TEST

START_TEST(auto_eoi_and_rotation) {
    program(3);
    raise(3);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x33);
    ck_assert_int_eq(last_ack, 3);
    ck_assert_uint_eq(pic.chips[0].isr, 0);
    program(1);
    raise(3);
    pic_acknowledge(&pic);
    pic_write(&pic, 0x20, 0xa0); // EOI with rotation: 3 becomes lowest
    lower(3);
    raise(3);
    raise(4);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x34);
    pic_write(&pic, 0x20, 0x20);
    pic_write(&pic, 0x20, 0xc7); // set priority: 7 lowest, the power-on order
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x33);
}
END_TEST

START_TEST(special_mask) {
    program(1);
    raise(1);
    pic_acknowledge(&pic);
    raise(6);
    ck_assert(!pic.output);
    pic_write(&pic, 0x20, 0x68);
    pic_write(&pic, 0x21, 0x02);
    ck_assert(pic.output);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x36);
}
END_TEST

START_TEST(polling) {
    program(1);
    raise(6);
    pic_write(&pic, 0x20, 0x0c);
    ck_assert_uint_eq(pic_read(&pic, 0x20), 0x86);
    ck_assert(!pic.output);
    ck_assert_uint_eq(pic.chips[0].isr, 0x40);
    pic_write(&pic, 0x20, 0x0c);
    ck_assert_uint_eq(pic_read(&pic, 0x20), 0);
}
END_TEST

START_TEST(state) {
    struct kvm_pic_state master, slave;
    program(1);
    raise(12);
    pic_get_state(&pic, 0, &master);
    pic_get_state(&pic, 1, &slave);
    pic_init(&pic, &ops);
    pic_set_state(&pic, 0, &master);
    pic_set_state(&pic, 1, &slave);
    ck_assert(pic.output);
    ck_assert_uint_eq(pic_acknowledge(&pic), 0x3c);
    slave.init_state = 200;
    slave.elcr = 0xff;
    pic_set_state(&pic, 1, &slave);
    ck_assert_uint_eq(pic.chips[1].elcr, 0xde);
    pic_write(&pic, 0xa1, 0x55);
    ck_assert_uint_eq(pic_read(&pic, 0xa1), 0x55);
}
END_TEST

Suite *pic_suite(void) {
    Suite *suite = suite_create("pic");
    TCase *tests = tcase_create("pic");
    tcase_add_test(tests, priority_and_eoi);
    tcase_add_test(tests, masked_and_coalesced);
    tcase_add_test(tests, cascade);
    tcase_add_test(tests, level_triggered);
    tcase_add_test(tests, spurious);
    tcase_add_test(tests, auto_eoi_and_rotation);
    tcase_add_test(tests, special_mask);
    tcase_add_test(tests, polling);
    tcase_add_test(tests, state);
    suite_add_tcase(suite, tests);
    return suite;
}
