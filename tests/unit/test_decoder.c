// SPDX-License-Identifier: BSD-2-Clause
// The instruction decoder.
// Sources: arch/x86/guest/decoder.c arch/x86/guest/decoder_opcodes.c
#include <check.h>
#include <string.h>
#include "arch/x86/guest/decoder.h"

static struct instruction instruction;

#define DECODE(mode, ...)                                                                          \
    decode((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), mode,           \
           &instruction)

// Bytes of one instruction, and what matters of it.
struct sample {
    uint8_t mode, length, bytes[15], operation, size;
    uint8_t destination, source;
};

static const struct sample samples[] = {
    {CODE_64, 2, {0x89, 0x07}, OP_MOV, 4, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 2, {0x8b, 0x07}, OP_MOV, 4, OPERAND_REGISTER, OPERAND_MEMORY},
    {CODE_64, 3, {0x48, 0x89, 0x07}, OP_MOV, 8, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 3, {0x66, 0x89, 0x07}, OP_MOV, 2, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 6, {0xc7, 0x07, 1, 2, 3, 4}, OP_MOV, 4, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 5, {0x66, 0xc7, 0x07, 1, 2}, OP_MOV, 2, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 7, {0x48, 0xc7, 0x07, 1, 2, 3, 4}, OP_MOV, 8, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 3, {0xc6, 0x07, 5}, OP_MOV, 1, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 9, {0xa0, 1, 2, 3, 4, 5, 6, 7, 8}, OP_MOV, 1, OPERAND_REGISTER, OPERAND_MEMORY},
    {CODE_64, 6, {0x67, 0xa1, 1, 2, 3, 4}, OP_MOV, 4, OPERAND_REGISTER, OPERAND_MEMORY},
    {CODE_32, 5, {0xa3, 1, 2, 3, 4}, OP_MOV, 4, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_16, 3, {0xa2, 1, 2}, OP_MOV, 1, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 3, {0x0f, 0xb6, 0x07}, OP_MOVZX, 4, OPERAND_REGISTER, OPERAND_MEMORY},
    {CODE_64, 4, {0x48, 0x0f, 0xbf, 0x07}, OP_MOVSX, 8, OPERAND_REGISTER, OPERAND_MEMORY},
    {CODE_64, 3, {0x48, 0x63, 0x07}, OP_MOVSX, 8, OPERAND_REGISTER, OPERAND_MEMORY},
    {CODE_64, 3, {0x83, 0x27, 0xf0}, OP_AND, 4, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 3, {0x80, 0x0f, 0x01}, OP_OR, 1, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 6, {0x81, 0x3f, 1, 2, 3, 4}, OP_CMP, 4, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 3, {0xf6, 0x07, 0x80}, OP_TEST, 1, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 6, {0xf7, 0x07, 1, 2, 3, 4}, OP_TEST, 4, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 2, {0xf7, 0x17}, OP_NOT, 4, OPERAND_MEMORY, OPERAND_NONE},
    {CODE_64, 2, {0xff, 0x07}, OP_INC, 4, OPERAND_MEMORY, OPERAND_NONE},
    {CODE_64, 3, {0xf0, 0x87, 0x07}, OP_XCHG, 4, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 4, {0xf0, 0x0f, 0xc1, 0x07}, OP_XADD, 4, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 4, {0xf0, 0x0f, 0xb1, 0x07}, OP_CMPXCHG, 4, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 4, {0x0f, 0xba, 0x2f, 3}, OP_BTS, 4, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 3, {0x0f, 0xa3, 0x07}, OP_BT, 4, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 2, {0xff, 0x37}, OP_PUSH, 8, OPERAND_NONE, OPERAND_MEMORY},
    {CODE_64, 2, {0x8f, 0x07}, OP_POP, 8, OPERAND_MEMORY, OPERAND_NONE},
    {CODE_64, 4, {0x66, 0x48, 0x8f, 0x07}, OP_POP, 8, OPERAND_MEMORY, OPERAND_NONE},
    {CODE_32, 2, {0xff, 0x37}, OP_PUSH, 4, OPERAND_NONE, OPERAND_MEMORY},
    {CODE_64, 2, {0xf3, 0xa5}, OP_MOVS, 4, OPERAND_NONE, OPERAND_NONE},
    {CODE_64, 3, {0xf3, 0x48, 0xab}, OP_STOS, 8, OPERAND_NONE, OPERAND_NONE},
    {CODE_64, 1, {0x6d}, OP_INS, 4, OPERAND_NONE, OPERAND_NONE},
    {CODE_64, 3, {0x0f, 0xc3, 0x07}, OP_MOVNTI, 4, OPERAND_MEMORY, OPERAND_REGISTER},
    {CODE_64, 4, {0x66, 0x0f, 0x6f, 0x07}, OP_MOV_VECTOR, 16, OPERAND_VECTOR, OPERAND_MEMORY},
    {CODE_64, 4, {0xf3, 0x0f, 0x7f, 0x07}, OP_MOV_VECTOR, 16, OPERAND_MEMORY, OPERAND_VECTOR},
    {CODE_64, 3, {0x0f, 0x10, 0x07}, OP_MOV_VECTOR, 16, OPERAND_VECTOR, OPERAND_MEMORY},
    {CODE_64, 4, {0xc5, 0xfe, 0x6f, 0x07}, OP_MOV_VECTOR, 32, OPERAND_VECTOR, OPERAND_MEMORY},
    {CODE_64, 5, {0xc4, 0x41, 0x7a, 0x7f, 0x07}, OP_MOV_VECTOR, 16, OPERAND_MEMORY, OPERAND_VECTOR},
    {CODE_64, 4, {0x66, 0x0f, 0x6e, 0x07}, OP_MOV_VECTOR, 4, OPERAND_VECTOR, OPERAND_MEMORY},
    {CODE_64, 5, {0x66, 0x48, 0x0f, 0x7e, 0x07}, OP_MOV_VECTOR, 8, OPERAND_MEMORY, OPERAND_VECTOR},
    {CODE_64, 4, {0x0f, 0x38, 0xf0, 0x07}, OP_MOVBE, 4, OPERAND_REGISTER, OPERAND_MEMORY},
    {CODE_64, 3, {0x0f, 0x94, 0x07}, OP_SETCC, 1, OPERAND_MEMORY, OPERAND_NONE},
    {CODE_64, 2, {0xd1, 0x27}, OP_SHL, 4, OPERAND_MEMORY, OPERAND_IMMEDIATE},
    {CODE_64, 2, {0xe4, 0x60}, OP_IN, 1, OPERAND_REGISTER, OPERAND_IMMEDIATE},
    {CODE_16, 1, {0xef}, OP_OUT, 2, OPERAND_REGISTER, OPERAND_REGISTER},
    {CODE_64, 3, {0x0f, 0x18, 0x07}, OP_NOP, 4, OPERAND_NONE, OPERAND_NONE},
    {CODE_32, 2, {0x8c, 0x1f}, OP_MOV_SEGMENT, 2, OPERAND_MEMORY, OPERAND_SEGMENT},
};

START_TEST(sample_instructions) {
    const struct sample *sample = &samples[_i];
    uint8_t bytes[15];
    ck_assert_int_eq(decode(sample->bytes, 15, sample->mode, &instruction), DECODED);
    ck_assert_uint_eq(instruction.length, sample->length);
    ck_assert_uint_eq(instruction.operation, sample->operation);
    ck_assert_uint_eq(instruction.operand_size, sample->size);
    ck_assert_uint_eq(instruction.destination.kind, sample->destination);
    ck_assert_uint_eq(instruction.source.kind, sample->source);
    // Any shorter piece is told to be too short, never read past.
    for (uint32_t length = 0; length < sample->length; length++) {
        memcpy(bytes + 15 - length, sample->bytes, length);
        ck_assert_int_eq(decode(bytes + 15 - length, length, sample->mode, &instruction),
                         DECODE_TRUNCATED);
    }
}
END_TEST

START_TEST(addresses_64) {
    ck_assert_int_eq(DECODE(CODE_64, 0x43, 0x8b, 0x44, 0xac, 0xf0), DECODED);
    ck_assert_int_eq(instruction.base, 12); // r12 + r13 * 4 - 16
    ck_assert_int_eq(instruction.index, 13);
    ck_assert_uint_eq(instruction.scale, 4);
    ck_assert_int_eq(instruction.displacement, -16);
    ck_assert_uint_eq(instruction.segment, SEG_DS);
    ck_assert_int_eq(DECODE(CODE_64, 0x8b, 0x05, 0x00, 0x10, 0x00, 0x80), DECODED);
    ck_assert_int_eq(instruction.base, DECODED_BASE_RIP);
    ck_assert_int_eq(instruction.displacement, (int32_t)0x80001000);
    ck_assert_int_eq(DECODE(CODE_64, 0x8b, 0x04, 0x25, 0x00, 0x00, 0xe0, 0xfe), DECODED);
    ck_assert_int_eq(instruction.base, -1);
    ck_assert_int_eq(instruction.index, -1);
    ck_assert_int_eq(DECODE(CODE_64, 0x8b, 0x45, 0x08), DECODED);
    ck_assert_uint_eq(instruction.segment, SEG_SS);
    ck_assert_int_eq(DECODE(CODE_64, 0x65, 0x8b, 0x45, 0x08), DECODED);
    ck_assert_uint_eq(instruction.segment, SEG_GS);
    ck_assert_int_eq(DECODE(CODE_64, 0x2e, 0x8b, 0x07), DECODED); // CS is nothing here
    ck_assert_uint_eq(instruction.segment, SEG_DS);
    ck_assert_int_eq(DECODE(CODE_64, 0x67, 0x8b, 0x07), DECODED);
    ck_assert_uint_eq(instruction.address_size, 4);
}
END_TEST

START_TEST(addresses_16) {
    ck_assert_int_eq(DECODE(CODE_16, 0x8b, 0x42, 0xfe), DECODED); // [bp+si-2]
    ck_assert_int_eq(instruction.base, 5);
    ck_assert_int_eq(instruction.index, 6);
    ck_assert_int_eq(instruction.displacement, -2);
    ck_assert_uint_eq(instruction.segment, SEG_SS);
    ck_assert_int_eq(DECODE(CODE_16, 0x8b, 0x06, 0x34, 0x12), DECODED);
    ck_assert_int_eq(instruction.base, -1);
    ck_assert_int_eq(instruction.displacement, 0x1234);
    ck_assert_uint_eq(instruction.segment, SEG_DS);
    ck_assert_int_eq(DECODE(CODE_16, 0x67, 0x66, 0x26, 0xa3, 0, 0, 0xe0, 0xfe), DECODED);
    ck_assert_uint_eq(instruction.operand_size, 4);
    ck_assert_uint_eq(instruction.length, 8);
    ck_assert_uint_eq(instruction.segment, SEG_ES);
    ck_assert_uint_eq(instruction.displacement, 0xfee00000);
}
END_TEST

START_TEST(byte_registers) {
    ck_assert_int_eq(DECODE(CODE_64, 0x88, 0x27), DECODED); // ah
    ck_assert(instruction.source.high_byte);
    ck_assert_uint_eq(instruction.source.reg, 0);
    ck_assert_int_eq(DECODE(CODE_64, 0x40, 0x88, 0x27), DECODED); // spl
    ck_assert(!instruction.source.high_byte);
    ck_assert_uint_eq(instruction.source.reg, 4);
    ck_assert_int_eq(DECODE(CODE_64, 0x44, 0x88, 0x27), DECODED); // r12b
    ck_assert_uint_eq(instruction.source.reg, 12);
}
END_TEST

START_TEST(prefix_rules) {
    ck_assert_int_eq(DECODE(CODE_64, 0x48, 0x66, 0x89, 0x07), DECODED); // REX not last: lost
    ck_assert_uint_eq(instruction.operand_size, 2);
    ck_assert_int_eq(DECODE(CODE_64, 0xf0, 0x89, 0x07), DECODE_INVALID);
    ck_assert_int_eq(DECODE(CODE_64, 0xf0, 0xf3, 0xa5), DECODE_INVALID);
    ck_assert_int_eq(DECODE(CODE_64, 0xf0, 0x01, 0xc0), DECODE_INVALID);       // register
    ck_assert_int_eq(DECODE(CODE_64, 0xf0, 0x0f, 0xa3, 0x07), DECODE_INVALID); // BT
    ck_assert_int_eq(DECODE(CODE_64, 0x48, 0xc5, 0xfe, 0x6f, 0x07), DECODE_INVALID);
    ck_assert_int_eq(DECODE(CODE_32, 0xc5, 0x07), DECODE_UNKNOWN); // LDS
    ck_assert_int_eq(DECODE(CODE_64, 0x0f, 0x05), DECODE_UNKNOWN);
    ck_assert_int_eq(DECODE(CODE_64, 0xfe, 0x3f), DECODE_UNKNOWN);
    ck_assert_int_eq(DECODE(CODE_32, 0x63, 0x07), DECODE_UNKNOWN); // ARPL
    ck_assert_int_eq(DECODE(CODE_64, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                            0x66, 0x66, 0x66, 0x66, 0x89, 0x07),
                     DECODE_TOO_LONG);
    ck_assert_int_eq(DECODE(CODE_64, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                            0x66, 0x66, 0x66, 0x89, 0x07),
                     DECODED);
    ck_assert_uint_eq(instruction.length, 15);
}
END_TEST

START_TEST(vector_details) {
    ck_assert_int_eq(DECODE(CODE_64, 0x66, 0x44, 0x0f, 0x7f, 0x3f), DECODED);
    ck_assert_uint_eq(instruction.source.reg, 15);
    ck_assert(instruction.aligned);
    ck_assert_int_eq(DECODE(CODE_64, 0xf3, 0x0f, 0x6f, 0x07), DECODED);
    ck_assert(!instruction.aligned);
    ck_assert_uint_eq(instruction.repeat, REPEAT_NONE);
    ck_assert_int_eq(DECODE(CODE_64, 0x0f, 0x16, 0x07), DECODED);
    ck_assert(instruction.partial);
    ck_assert_uint_eq(instruction.vector_offset, 8);
    ck_assert_int_eq(DECODE(CODE_64, 0x66, 0x0f, 0x6f, 0xc1), DECODE_UNKNOWN); // registers only
    ck_assert_int_eq(DECODE(CODE_64, 0xc5, 0xf8, 0x28, 0x07), DECODED);
    ck_assert(instruction.vex);
    ck_assert_uint_eq(instruction.operand_size, 16);
    ck_assert_int_eq(DECODE(CODE_64, 0xc5, 0xf0, 0x16, 0x07), DECODE_UNKNOWN); // merges vvvv
    // VEX.B names no register outside 64-bit code.
    ck_assert_int_eq(DECODE(CODE_32, 0xc4, 0xc1, 0x7a, 0x6f, 0x07), DECODED);
    ck_assert_int_eq(instruction.base, 7);
}
END_TEST

Suite *decoder_suite(void) {
    Suite *suite = suite_create("decoder");
    TCase *tests = tcase_create("decoder");
    tcase_add_loop_test(tests, sample_instructions, 0, sizeof samples / sizeof samples[0]);
    tcase_add_test(tests, addresses_64);
    tcase_add_test(tests, addresses_16);
    tcase_add_test(tests, byte_registers);
    tcase_add_test(tests, prefix_rules);
    tcase_add_test(tests, vector_details);
    suite_add_tcase(suite, tests);
    return suite;
}
