// SPDX-License-Identifier: BSD-2-Clause
// The parser of exiting instructions that AMD-V without next RIP and decode assists needs.
#include <check.h>
#include "arch/x86/svm/instruction.h"

enum mode { MODE_16, MODE_32, MODE_64 };

// In the order a row is read.
static const struct { // NOLINT(clang-analyzer-optin.performance.Padding)
    const char *name;
    uint8_t bytes[6], count;
    enum mode mode;
    struct svm_instruction expected;
} parsed[] = {
    {"cpuid", {0x0f, 0xa2}, 2, MODE_64, {SVM_OTHER, 0, 0, 0, 0, 0}},
    {"data16 rex.W cpuid", {0x66, 0x48, 0x0f, 0xa2}, 4, MODE_64, {SVM_OTHER, 2, 0, 0, 0, 0}},
    {"inc ax is no prefix", {0x40, 0x0f, 0xa2}, 3, MODE_32, {SVM_OTHER, 0, 0, 0, 0, 0}},
    {"pause", {0xf3, 0x90}, 2, MODE_64, {SVM_OTHER, 1, 0, 0, 0, 0}},
    {"mov cr0, rbx", {0x0f, 0x22, 0xc3}, 3, MODE_64, {SVM_MOVE, 0, 3, 3, 0, 0}},
    {"mov r12, cr8", {0x45, 0x0f, 0x20, 0xc4}, 4, MODE_64, {SVM_MOVE, 1, 4, 12, 0, 0}},
    {"mov dr7, rsp", {0x0f, 0x23, 0xfc}, 3, MODE_64, {SVM_MOVE, 0, 3, 4, 0, 0}},
    {"rex before a legacy prefix",
     {0x41, 0x66, 0x0f, 0x22, 0xc3},
     5,
     MODE_64,
     {SVM_MOVE, 2, 5, 3, 0, 0}},
    {"clts", {0x0f, 0x06}, 2, MODE_32, {SVM_CLTS, 0, 2, 0, 0, 0}},
    {"lmsw ax", {0x0f, 0x01, 0xf0}, 3, MODE_16, {SVM_LMSW, 0, 3, 0, 0, 0}},
    {"lmsw [rax]", {0x0f, 0x01, 0x30}, 3, MODE_64, {SVM_MEMORY, 0, 3, 0, 0, 0}},
    {"smsw cx", {0x0f, 0x01, 0xe1}, 3, MODE_16, {SVM_SMSW, 0, 3, 1, 2, 0}},
    {"smsw ecx", {0x0f, 0x01, 0xe1}, 3, MODE_32, {SVM_SMSW, 0, 3, 1, 4, 0}},
    {"smsw r9", {0x49, 0x0f, 0x01, 0xe1}, 4, MODE_64, {SVM_SMSW, 1, 4, 9, 8, 0}},
    {"int3", {0xcc}, 1, MODE_64, {SVM_INT3, 0, 1, 0, 0, 4}},
    {"int 0x80", {0xcd, 0x80}, 2, MODE_32, {SVM_INT, 0, 2, 0, 0, 0x80}},
    {"into", {0x66, 0xce}, 2, MODE_16, {SVM_INT, 1, 2, 0, 0, 4}},
};

START_TEST(parses) {
    struct svm_instruction seen;
    ck_assert_msg(svm_instruction_parse(parsed[_i].bytes, parsed[_i].count,
                                        parsed[_i].mode == MODE_64, parsed[_i].mode == MODE_32,
                                        &seen),
                  "%s", parsed[_i].name);
    const struct svm_instruction *expected = &parsed[_i].expected;
    ck_assert_msg(seen.operation == expected->operation && seen.prefixes == expected->prefixes &&
                      seen.length == expected->length && seen.size == expected->size &&
                      seen.vector == expected->vector,
                  "%s: operation %u prefixes %u length %u size %u vector %u", parsed[_i].name,
                  seen.operation, seen.prefixes, seen.length, seen.size, seen.vector);
    if (expected->operation != SVM_OTHER)
        ck_assert_msg(seen.gpr == expected->gpr, "%s: register %u", parsed[_i].name, seen.gpr);
}
END_TEST

START_TEST(too_short) {
    struct svm_instruction seen;
    const uint8_t move[] = {0x45, 0x0f, 0x20, 0xc4};
    for (unsigned count = 0; count < sizeof(move); count++)
        ck_assert(!svm_instruction_parse(move, count, true, false, &seen));
    ck_assert(svm_instruction_parse(move, sizeof(move), true, false, &seen));
    ck_assert(!svm_instruction_parse((const uint8_t[]){0xcd}, 1, true, false, &seen));
}
END_TEST

Suite *svm_instruction_suite(void) {
    Suite *suite = suite_create("svm_instruction");
    TCase *cases = tcase_create("parse");
    tcase_add_loop_test(cases, parses, 0, sizeof(parsed) / sizeof(parsed[0]));
    tcase_add_test(cases, too_short);
    suite_add_tcase(suite, cases);
    return suite;
}
