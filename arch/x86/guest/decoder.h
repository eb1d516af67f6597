// SPDX-License-Identifier: BSD-2-Clause
// Decodes one x86 instruction for 16-, 32- and 64-bit code (SDM vol. 2 ch. 2 and appendix A):
// those the emulator runs, see emulator.h.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define INSTRUCTION_MAX 15

enum code_mode { CODE_16, CODE_32, CODE_64 };

enum segment_register { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };

enum operation {
    OP_NONE,
    // Order of the first eight is that of the 0x80 group.
    OP_ADD,
    OP_OR,
    OP_ADC,
    OP_SBB,
    OP_AND,
    OP_SUB,
    OP_XOR,
    OP_CMP,
    OP_MOV,
    OP_MOVZX,
    OP_MOVSX,
    OP_TEST,
    OP_XCHG,
    OP_XADD,
    OP_CMPXCHG,
    OP_NOT,
    OP_NEG,
    OP_INC,
    OP_DEC,
    OP_BT,
    OP_BTS,
    OP_BTR,
    OP_BTC,
    OP_ROL,
    OP_ROR,
    OP_RCL,
    OP_RCR,
    OP_SHL,
    OP_SHR,
    OP_SAR,
    OP_PUSH,
    OP_POP,
    OP_MOVS,
    OP_STOS,
    OP_LODS,
    OP_CMPS,
    OP_SCAS,
    OP_INS,
    OP_OUTS,
    OP_IN,
    OP_OUT,
    OP_SETCC,
    OP_CMOVCC,
    OP_MOVBE,
    OP_MOVNTI,
    OP_MOV_VECTOR, // 4, 8, 16 (VEX.256: 32) bytes between a vector register and memory
    OP_NOP,        // with a memory operand that is not accessed (NOP, PREFETCH)
    OP_CALL,
    OP_JMP,         // near, through memory
    OP_MOV_SEGMENT, // store a segment register
    OP_RSM,
    OP_COUNT,
};

enum operand_kind {
    OPERAND_NONE,
    OPERAND_REGISTER, // reg: 0..15; high_byte: AH, CH, DH, BH
    OPERAND_MEMORY,   // the instruction's one memory operand
    OPERAND_IMMEDIATE,
    OPERAND_VECTOR,  // xmm/ymm reg
    OPERAND_SEGMENT, // segment register reg
};

struct operand {
    uint8_t kind; // enum operand_kind
    uint8_t reg;
    uint8_t size; // bytes
    bool high_byte;
};

enum repeat_prefix { REPEAT_NONE, REPEAT_REP, REPEAT_REPNE };

struct instruction {
    uint8_t operation; // enum operation
    uint8_t length;
    uint8_t mode;         // enum code_mode
    uint8_t operand_size; // 1, 2, 4, 8 (16, 32 for vectors)
    uint8_t address_size; // 2, 4, 8
    uint8_t repeat;       // enum repeat_prefix
    bool lock;
    bool aligned;          // 16/32-byte alignment required (MOVAPS, MOVDQA, MOVNT*)
    bool vex;              // clears the vector register's upper part on load
    bool partial;          // a vector load that keeps the rest of the register (MOVLPS, MOVHPS)
    uint8_t vector_offset; // byte in the register a partial vector move starts at
    uint8_t condition;     // SETcc, CMOVcc
    struct operand destination, source;
    // The memory operand: segment:base + index * scale + displacement.
    uint8_t segment; // enum segment_register
    int8_t base;     // register, -1 none, DECODED_BASE_RIP next instruction's address
    int8_t index;    // -1 none
    uint8_t scale;   // 1, 2, 4, 8
    int64_t displacement;
    uint64_t immediate; // sign-extended where the instruction does so
};
#define DECODED_BASE_RIP 16

enum decode_result {
    DECODED,
    DECODE_TRUNCATED = -1, // needs more than len bytes
    DECODE_UNKNOWN = -2,   // not one of ours (or an invalid encoding)
    DECODE_INVALID = -3,   // #UD: LOCK where it may not stand
    DECODE_TOO_LONG = -4,  // #GP: over 15 bytes
};

enum decode_result decode(const uint8_t *bytes, uint32_t len, enum code_mode mode,
                          struct instruction *instruction);
