// SPDX-License-Identifier: BSD-2-Clause
// The instruction that exited, read from guest memory where the processor tells neither its length
// nor its operand (no next RIP, no decode assists).
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum svm_operation {
    SVM_OTHER,
    SVM_MOVE, // CR or DR, from or to a general register
    SVM_CLTS,
    SVM_LMSW, // the two of CR0's low word, with a register operand
    SVM_SMSW,
    SVM_MEMORY, // LMSW or SMSW with a memory operand
    SVM_INT3,
    SVM_INT, // INT n, INTO
};

struct svm_instruction {
    uint8_t operation; // enum svm_operation
    uint8_t prefixes;  // bytes of legacy and REX prefixes
    uint8_t length;    // of the whole, for all but SVM_OTHER and SVM_MEMORY
    uint8_t gpr;       // the general register, hardware order
    uint8_t size;      // SMSW: bytes of the register that are written
    uint8_t vector;    // INT n, INTO
};

// Parses count bytes of 64-bit code or, where code_64 is false, of code_32 or 16-bit code. False:
// too few bytes.
bool svm_instruction_parse(const uint8_t *bytes, unsigned count, bool code_64, bool code_32,
                           struct svm_instruction *instruction);
