// SPDX-License-Identifier: BSD-2-Clause
// The instruction emulator's string instructions, with memory, devices and ports.
// Sources: arch/x86/guest/emulator.c arch/x86/guest/emulator_alu.c
// Sources: arch/x86/guest/emulator_memory.c arch/x86/guest/emulator_string.c
// Sources: arch/x86/guest/decoder.c arch/x86/guest/decoder_opcodes.c
#include <check.h>
#include <string.h>

#include "emulator_fixture.h"

START_TEST(repeated_move_from_device) {
    START(CODE_64, 0xf3, 0xa5); // rep movsd
    emulation.gpr[RSI] = DEVICE + 0x100;
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RCX] = 3;
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_READ);
        ck_assert_uint_eq(emulation.mmio.gpa, DEVICE + 0x100 + 4 * i);
        ck_assert_uint_eq(emulation.gpr[RCX], 3 - i);
        ck_assert_uint_eq(emulation.rip, 0x1000);
        memcpy(emulation.mmio.data, &i, 4);
    }
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.rip, 0x1002);
    ck_assert_uint_eq(emulation.gpr[RCX], 0);
    ck_assert_uint_eq(emulation.gpr[RSI], DEVICE + 0x10c);
    ck_assert_uint_eq(emulation.gpr[RDI], 0x200c);
    ck_assert_mem_eq(ram + 0x2000, "\0\0\0\0\1\0\0\0\2\0\0\0", 12);
}
END_TEST

START_TEST(repeated_store_to_device_downwards) {
    START(CODE_64, 0xf3, 0xaa);
    emulation.rflags |= 0x400;
    emulation.gpr[RDI] = DEVICE + 1;
    emulation.gpr[RCX] = 2;
    emulation.gpr[RAX] = 0x5a;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_uint_eq(emulation.mmio.gpa, DEVICE + 1);
    ck_assert(!emulation.complete);
    ck_assert_uint_eq(emulation.gpr[RCX], 1);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert(emulation.complete);
    ck_assert_uint_eq(emulation.mmio.gpa, DEVICE);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RDI], DEVICE - 1);
}
END_TEST

START_TEST(repetition_is_bounded_and_resumes) {
    START(CODE_64, 0xf3, 0xaa);
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RCX] = 5000;
    unsigned steps = 0;
    while (emulation.rip == 0x1000) {
        ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
        steps++;
    }
    ck_assert_uint_gt(steps, 1);
    ck_assert_uint_eq(emulation.gpr[RCX], 0);
    ck_assert_uint_eq(emulation.gpr[RDI], 0x2000 + 5000);
    START(CODE_64, 0xf3, 0xaa);
    emulation.gpr[RCX] = 0;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.rip, 0x1002);
}
END_TEST

START_TEST(repeated_fault_keeps_progress) {
    START(CODE_64, 0xf3, 0xa4); // from memory up to what is not mapped
    emulation.gpr[RSI] = 0x2000;
    emulation.gpr[RDI] = UNMAPPED - 2;
    emulation.gpr[RCX] = 5;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION);
    ck_assert_uint_eq(emulation.exception.cr2, UNMAPPED);
    ck_assert_uint_eq(emulation.gpr[RCX], 3);
    ck_assert_uint_eq(emulation.rip, 0x1000);
}
END_TEST

START_TEST(compare_strings) {
    memcpy(ram + 0x2000, "abcx", 4);
    memcpy(ram + 0x3000, "abcy", 4);
    START(CODE_64, 0xf3, 0xa6); // repe cmpsb
    emulation.gpr[RSI] = 0x2000;
    emulation.gpr[RDI] = 0x3000;
    emulation.gpr[RCX] = 100;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RCX], 96);
    ck_assert_uint_eq(emulation.rip, 0x1002);
    ck_assert(emulation.rflags & 1); // x < y
    START(CODE_64, 0xf2, 0xae);      // repne scasb
    emulation.gpr[RAX] = 'c';
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RCX] = 100;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RDI], 0x2003);
    ck_assert(emulation.rflags & 0x40);
}
END_TEST

START_TEST(address_size_of_strings) {
    START(CODE_64, 0x67, 0xaa); // stosb with EDI
    emulation.gpr[RDI] = 0xffffffff00002000;
    emulation.gpr[RAX] = 0x77;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(ram[0x2000], 0x77);
    ck_assert_uint_eq(emulation.gpr[RDI], 0x2001);
    START(CODE_16, 0xaa);
    emulation.cr0 = 0;
    segments[SEG_ES] = (struct kvm_segment){.base = 0, .limit = 0xffff, .type = 3};
    emulation.gpr[RDI] = 0x1234ffff;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RDI], 0x12340000);
}
END_TEST

START_TEST(string_output_in_batches) {
    START(CODE_64, 0xf3, 0x66, 0x6f); // rep outsw
    for (unsigned i = 0; i < 600; i++)
        memcpy(ram + 0x2000 + 2 * i, &(uint16_t){(uint16_t)i}, 2);
    emulation.gpr[RDX] = 0x1f0;
    emulation.gpr[RSI] = 0x2000;
    emulation.gpr[RCX] = 600;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_OUT);
    ck_assert_uint_eq(emulation.port.port, 0x1f0);
    ck_assert_uint_eq(emulation.port.size, 2);
    ck_assert_uint_eq(emulation.port.count, 512);
    ck_assert_uint_eq(port_page[2 * 300], 300 & 255);
    ck_assert_int_eq(reads, 1); // all of them in one access
    ck_assert_uint_eq(emulation.gpr[RCX], 600);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_OUT);
    ck_assert_uint_eq(emulation.port.count, 88);
    ck_assert_uint_eq(emulation.gpr[RCX], 88);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RCX], 0);
    ck_assert_uint_eq(emulation.gpr[RSI], 0x2000 + 1200);
    ck_assert_uint_eq(emulation.rip, 0x1003);
    // Across a page's end, and downwards.
    START(CODE_64, 0xf3, 0x66, 0x6f);
    emulation.gpr[RSI] = 0x2ffd;
    emulation.gpr[RCX] = 20;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_OUT);
    ck_assert_uint_eq(emulation.port.count, 1);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_OUT);
    START(CODE_64, 0xf3, 0x6e);
    memcpy(ram + 0x3000, "0123456789abcdef", 16);
    emulation.rflags |= 0x400;
    emulation.gpr[RSI] = 0x300f;
    emulation.gpr[RCX] = 16;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_OUT);
    ck_assert_uint_eq(emulation.port.count, 16);
    ck_assert_mem_eq(port_page, "fedcba9876543210", 16);
}
END_TEST

static unsigned port_writes;

static enum emulated_access port_write(void *context, uint16_t port, uint32_t size,
                                       const void *data) {
    (void)context;
    (void)port;
    (void)size;
    (void)data;
    port_writes++;
    return ACCESS_DONE;
}

// What the kernel's own devices take of a string is bounded too: interrupts wait for it.
START_TEST(string_output_inside_is_bounded) {
    START(CODE_64, 0xf3, 0x6e); // rep outsb
    struct emulation_ops inside = *emulation.ops;
    inside.port_write = port_write;
    emulation.ops = &inside;
    emulation.gpr[RSI] = 0x2000;
    emulation.gpr[RCX] = 5000;
    while (emulation.rip == 0x1000) {
        port_writes = 0;
        ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
        ck_assert_uint_le(port_writes, 2048);
    }
    ck_assert_uint_eq(emulation.gpr[RCX], 0);
    ck_assert_uint_eq(emulation.gpr[RSI], 0x2000 + 5000);
}
END_TEST

START_TEST(single_steps_of_a_repetition) {
    START(CODE_64, 0xf3, 0xaa);
    emulation.single_step = true;
    emulation.gpr[RDI] = DEVICE - 1;
    emulation.gpr[RCX] = 3;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RCX], 2);
    ck_assert_uint_eq(emulation.rip, 0x1000);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert(emulation.complete); // but for the write
    ck_assert_uint_eq(emulation.gpr[RCX], 1);
    ck_assert_uint_eq(emulation.rip, 0x1000);
    START(CODE_64, 0xf3, 0x6e);
    emulation.single_step = true;
    emulation.gpr[RSI] = 0x2000;
    emulation.gpr[RCX] = 2;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_OUT);
    ck_assert_uint_eq(emulation.port.count, 1);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.gpr[RCX], 1);
    ck_assert_uint_eq(emulation.rip, 0x1000);
}
END_TEST

START_TEST(string_input_in_batches) {
    START(CODE_64, 0xf3, 0x6d); // rep insd
    emulation.gpr[RDX] = 0x1f0;
    emulation.gpr[RDI] = 0x2ff8;
    emulation.gpr[RCX] = 4;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_IN);
    ck_assert_uint_eq(emulation.port.count, 2); // to the page's end
    memcpy(port_page, "abcdefgh", 8);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_IN);
    ck_assert_uint_eq(emulation.port.count, 2);
    memcpy(port_page, "ijklmnop", 8);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_mem_eq(ram + 0x2ff8, "abcdefghijklmnop", 16);
    ck_assert_uint_eq(emulation.gpr[RDI], 0x3008);
    START(CODE_64, 0xf3, 0x6c);
    emulation.gpr[RDI] = 0x2000;
    emulation.gpr[RCX] = 100;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_IN);
    ck_assert_uint_eq(emulation.port.count, 100);
    memset(port_page, 0x33, 100);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_int_eq(writes, 1);
    ck_assert_uint_eq(ram[0x2063], 0x33);
    ck_assert_uint_ne(ram[0x2064], 0x33);
    START(CODE_64, 0x6d);
    emulation.gpr[RDI] = UNMAPPED;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_EXCEPTION); // before the port is read
    START(CODE_64, 0x6c);                                          // into a device
    emulation.gpr[RDI] = DEVICE;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_PORT_IN);
    port_page[0] = 0x42;
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_MMIO_WRITE);
    ck_assert_uint_eq(emulation.mmio.data[0], 0x42);
    ck_assert_int_eq(emulate_step(&emulation), EMULATE_DONE);
    ck_assert_uint_eq(emulation.rip, 0x1001);
}
END_TEST

Suite *emulator_string_suite(void) {
    Suite *suite = suite_create("emulator_string");
    TCase *tests = tcase_create("emulator_string");
    tcase_add_test(tests, repeated_move_from_device);
    tcase_add_test(tests, repeated_store_to_device_downwards);
    tcase_add_test(tests, repetition_is_bounded_and_resumes);
    tcase_add_test(tests, repeated_fault_keeps_progress);
    tcase_add_test(tests, compare_strings);
    tcase_add_test(tests, address_size_of_strings);
    tcase_add_test(tests, string_output_in_batches);
    tcase_add_test(tests, single_steps_of_a_repetition);
    tcase_add_test(tests, string_output_inside_is_bounded);
    tcase_add_test(tests, string_input_in_batches);
    suite_add_tcase(suite, tests);
    return suite;
}
