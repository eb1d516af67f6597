// SPDX-License-Identifier: BSD-2-Clause
// Instruction decoder: prefixes, opcode tables, ModRM/SIB, displacement, immediate.
#include "decoder.h"

// How an opcode's operands are laid out (SDM vol. 2 appendix A.2 letters).
enum layout {
    L_NONE,
    L_EB_GB,
    L_EV_GV, // destination r/m, source register
    L_GB_EB,
    L_GV_EV, // destination register, source r/m
    L_EB_IB,
    L_EV_IZ,
    L_EV_IB, // r/m, immediate (IB: sign-extended)
    L_EB,
    L_EV, // one r/m operand
    L_EB_1,
    L_EV_1,
    L_EB_CL,
    L_EV_CL, // shifts
    L_AL_OB,
    L_AX_OV,
    L_OB_AL,
    L_OV_AX, // moffs
    L_GV_EB,
    L_GV_EW,
    L_GV_ED, // widening
    L_EV_PUSH,
    L_EV_POP, // 64-bit operand by default
    L_STRING_B,
    L_STRING_V, // no operands
    L_AL_IB,
    L_AX_IB,
    L_IB_AL,
    L_IB_AX,
    L_AL_DX,
    L_AX_DX,
    L_DX_AL,
    L_DX_AX, // ports
    L_V_W,
    L_W_V, // vector register and memory, size in the entry
    L_NOP, // memory operand not accessed
    L_MOVNTI,
    L_EV_SEG,
    L_AL_IMM,
    L_AX_IMM, // accumulator, immediate
    L_GROUP,  // operation by ModRM.reg, see groups
    L_VECTOR, // by mandatory prefix, see vector_forms
};

struct opcode {
    uint8_t operation; // enum operation, or group number, or vector form
    uint8_t layout;
};

enum group {
    GROUP_1B,
    GROUP_1V,
    GROUP_1VB,
    GROUP_2B,
    GROUP_2V,
    GROUP_2B1,
    GROUP_2V1,
    GROUP_2BCL,
    GROUP_2VCL,
    GROUP_3B,
    GROUP_3V,
    GROUP_4,
    GROUP_5,
    GROUP_8,
    GROUP_11B,
    GROUP_11V,
    GROUP_1A,
    GROUP_COUNT
};

#define ARITHMETIC(base, op)                                                                       \
    [base] = {op, L_EB_GB}, [base + 1] = {op, L_EV_GV}, [base + 2] = {op, L_GB_EB},                \
    [base + 3] = {op, L_GV_EV}, [base + 4] = {op, L_AL_IMM}, [base + 5] = {op, L_AX_IMM}

static const struct opcode one_byte[256] = {
    ARITHMETIC(0x00, OP_ADD),       ARITHMETIC(0x08, OP_OR),
    ARITHMETIC(0x10, OP_ADC),       ARITHMETIC(0x18, OP_SBB),
    ARITHMETIC(0x20, OP_AND),       ARITHMETIC(0x28, OP_SUB),
    ARITHMETIC(0x30, OP_XOR),       ARITHMETIC(0x38, OP_CMP),
    [0x63] = {OP_MOVSX, L_GV_ED}, // MOVSXD (64-bit code only)
    [0x6c] = {OP_INS, L_STRING_B},  [0x6d] = {OP_INS, L_STRING_V},
    [0x6e] = {OP_OUTS, L_STRING_B}, [0x6f] = {OP_OUTS, L_STRING_V},
    [0x80] = {GROUP_1B, L_GROUP},   [0x81] = {GROUP_1V, L_GROUP},
    [0x83] = {GROUP_1VB, L_GROUP},  [0x84] = {OP_TEST, L_EB_GB},
    [0x85] = {OP_TEST, L_EV_GV},    [0x86] = {OP_XCHG, L_EB_GB},
    [0x87] = {OP_XCHG, L_EV_GV},    [0x88] = {OP_MOV, L_EB_GB},
    [0x89] = {OP_MOV, L_EV_GV},     [0x8a] = {OP_MOV, L_GB_EB},
    [0x8b] = {OP_MOV, L_GV_EV},     [0x8c] = {OP_MOV_SEGMENT, L_EV_SEG},
    [0x8f] = {GROUP_1A, L_GROUP},   [0xa0] = {OP_MOV, L_AL_OB},
    [0xa1] = {OP_MOV, L_AX_OV},     [0xa2] = {OP_MOV, L_OB_AL},
    [0xa3] = {OP_MOV, L_OV_AX},     [0xa4] = {OP_MOVS, L_STRING_B},
    [0xa5] = {OP_MOVS, L_STRING_V}, [0xa6] = {OP_CMPS, L_STRING_B},
    [0xa7] = {OP_CMPS, L_STRING_V}, [0xaa] = {OP_STOS, L_STRING_B},
    [0xab] = {OP_STOS, L_STRING_V}, [0xac] = {OP_LODS, L_STRING_B},
    [0xad] = {OP_LODS, L_STRING_V}, [0xae] = {OP_SCAS, L_STRING_B},
    [0xaf] = {OP_SCAS, L_STRING_V}, [0xc0] = {GROUP_2B, L_GROUP},
    [0xc1] = {GROUP_2V, L_GROUP},   [0xc6] = {GROUP_11B, L_GROUP},
    [0xc7] = {GROUP_11V, L_GROUP},  [0xd0] = {GROUP_2B1, L_GROUP},
    [0xd1] = {GROUP_2V1, L_GROUP},  [0xd2] = {GROUP_2BCL, L_GROUP},
    [0xd3] = {GROUP_2VCL, L_GROUP}, [0xe4] = {OP_IN, L_AL_IB},
    [0xe5] = {OP_IN, L_AX_IB},      [0xe6] = {OP_OUT, L_IB_AL},
    [0xe7] = {OP_OUT, L_IB_AX},     [0xec] = {OP_IN, L_AL_DX},
    [0xed] = {OP_IN, L_AX_DX},      [0xee] = {OP_OUT, L_DX_AL},
    [0xef] = {OP_OUT, L_DX_AX},     [0xf6] = {GROUP_3B, L_GROUP},
    [0xf7] = {GROUP_3V, L_GROUP},   [0xfe] = {GROUP_4, L_GROUP},
    [0xff] = {GROUP_5, L_GROUP},
};

static const struct opcode two_byte[256] = {
    [0x0d] = {OP_NOP, L_NOP}, // PREFETCHW
    [0x10] = {0, L_VECTOR},
    [0x11] = {0, L_VECTOR},
    [0x12] = {0, L_VECTOR},
    [0x13] = {0, L_VECTOR},
    [0x16] = {0, L_VECTOR},
    [0x17] = {0, L_VECTOR},
    [0x18 ... 0x1f] = {OP_NOP, L_NOP}, // PREFETCHh and long NOPs
    [0x28] = {0, L_VECTOR},
    [0x29] = {0, L_VECTOR},
    [0x2b] = {0, L_VECTOR},
    [0x40 ... 0x4f] = {OP_CMOVCC, L_GV_EV},
    [0x6e] = {0, L_VECTOR},
    [0x6f] = {0, L_VECTOR},
    [0x7e] = {0, L_VECTOR},
    [0x7f] = {0, L_VECTOR},
    [0x90 ... 0x9f] = {OP_SETCC, L_EB},
    [0xa3] = {OP_BT, L_EV_GV},
    [0xaa] = {OP_RSM, L_STRING_B},
    [0xab] = {OP_BTS, L_EV_GV},
    [0xb0] = {OP_CMPXCHG, L_EB_GB},
    [0xb1] = {OP_CMPXCHG, L_EV_GV},
    [0xb3] = {OP_BTR, L_EV_GV},
    [0xb6] = {OP_MOVZX, L_GV_EB},
    [0xb7] = {OP_MOVZX, L_GV_EW},
    [0xba] = {GROUP_8, L_GROUP},
    [0xbb] = {OP_BTC, L_EV_GV},
    [0xbe] = {OP_MOVSX, L_GV_EB},
    [0xbf] = {OP_MOVSX, L_GV_EW},
    [0xc0] = {OP_XADD, L_EB_GB},
    [0xc1] = {OP_XADD, L_EV_GV},
    [0xc3] = {OP_MOVNTI, L_MOVNTI},
    [0xd6] = {0, L_VECTOR},
    [0xe7] = {0, L_VECTOR},
};

#define ARITHMETIC_GROUP(l)                                                                        \
    {                                                                                              \
        {OP_ADD, l}, {OP_OR, l}, {OP_ADC, l}, {OP_SBB, l}, {OP_AND, l}, {OP_SUB, l}, {OP_XOR, l},  \
        {                                                                                          \
            OP_CMP, l                                                                              \
        }                                                                                          \
    }
#define SHIFT_GROUP(l)                                                                             \
    {                                                                                              \
        {OP_ROL, l}, {OP_ROR, l}, {OP_RCL, l}, {OP_RCR, l}, {OP_SHL, l}, {OP_SHR, l}, {OP_SHL, l}, \
        {                                                                                          \
            OP_SAR, l                                                                              \
        }                                                                                          \
    }

static const struct opcode groups[GROUP_COUNT][8] = {
    [GROUP_1B] = ARITHMETIC_GROUP(L_EB_IB),
    [GROUP_1V] = ARITHMETIC_GROUP(L_EV_IZ),
    [GROUP_1VB] = ARITHMETIC_GROUP(L_EV_IB),
    [GROUP_2B] = SHIFT_GROUP(L_EB_IB),
    [GROUP_2V] = SHIFT_GROUP(L_EV_IB),
    [GROUP_2B1] = SHIFT_GROUP(L_EB_1),
    [GROUP_2V1] = SHIFT_GROUP(L_EV_1),
    [GROUP_2BCL] = SHIFT_GROUP(L_EB_CL),
    [GROUP_2VCL] = SHIFT_GROUP(L_EV_CL),
    [GROUP_3B] = {{OP_TEST, L_EB_IB}, {OP_TEST, L_EB_IB}, {OP_NOT, L_EB}, {OP_NEG, L_EB}},
    [GROUP_3V] = {{OP_TEST, L_EV_IZ}, {OP_TEST, L_EV_IZ}, {OP_NOT, L_EV}, {OP_NEG, L_EV}},
    [GROUP_4] = {{OP_INC, L_EB}, {OP_DEC, L_EB}},
    [GROUP_5] = {[0] = {OP_INC, L_EV},
                 [1] = {OP_DEC, L_EV},
                 [2] = {OP_CALL, L_EV_PUSH},
                 [4] = {OP_JMP, L_EV_PUSH},
                 [6] = {OP_PUSH, L_EV_PUSH}},
    [GROUP_8] = {[4] = {OP_BT, L_EV_IB},
                 [5] = {OP_BTS, L_EV_IB},
                 [6] = {OP_BTR, L_EV_IB},
                 [7] = {OP_BTC, L_EV_IB}},
    [GROUP_11B] = {{OP_MOV, L_EB_IB}},
    [GROUP_11V] = {{OP_MOV, L_EV_IZ}},
    [GROUP_1A] = {{OP_POP, L_EV_POP}},
};

enum mandatory { P_NONE, P_66, P_F3, P_F2 };

struct vector_form {
    uint8_t opcode, prefix; // after 0F; enum mandatory
    uint8_t size;           // 0: 16, or 32 with VEX.L
    bool store, aligned, partial;
    uint8_t offset;
};

// Moves between a vector register and memory. Size 8 with REX.W = 4 without for 6E/7E.
static const struct vector_form vector_forms[] = {
    {0x10, P_NONE, 0, false, false, false, 0}, // MOVUPS
    {0x10, P_66, 0, false, false, false, 0},   // MOVUPD
    {0x10, P_F3, 4, false, false, false, 0},   // MOVSS
    {0x10, P_F2, 8, false, false, false, 0},   // MOVSD
    {0x11, P_NONE, 0, true, false, false, 0},  {0x11, P_66, 0, true, false, false, 0},
    {0x11, P_F3, 4, true, false, false, 0},    {0x11, P_F2, 8, true, false, false, 0},
    {0x12, P_NONE, 8, false, false, true, 0}, // MOVLPS
    {0x12, P_66, 8, false, false, true, 0},   // MOVLPD
    {0x13, P_NONE, 8, true, false, false, 0},  {0x13, P_66, 8, true, false, false, 0},
    {0x16, P_NONE, 8, false, false, true, 8}, // MOVHPS
    {0x16, P_66, 8, false, false, true, 8},   // MOVHPD
    {0x17, P_NONE, 8, true, false, false, 8},  {0x17, P_66, 8, true, false, false, 8},
    {0x28, P_NONE, 0, false, true, false, 0}, // MOVAPS
    {0x28, P_66, 0, false, true, false, 0},   // MOVAPD
    {0x29, P_NONE, 0, true, true, false, 0},   {0x29, P_66, 0, true, true, false, 0},
    {0x2b, P_NONE, 0, true, true, false, 0}, // MOVNTPS
    {0x2b, P_66, 0, true, true, false, 0},   // MOVNTPD
    {0x6e, P_66, 4, false, false, false, 0}, // MOVD, MOVQ
    {0x6f, P_66, 0, false, true, false, 0},  // MOVDQA
    {0x6f, P_F3, 0, false, false, false, 0}, // MOVDQU
    {0x7e, P_66, 4, true, false, false, 0},    {0x7e, P_F3, 8, false, false, false, 0}, // MOVQ
    {0x7f, P_66, 0, true, true, false, 0},     {0x7f, P_F3, 0, true, false, false, 0},
    {0xd6, P_66, 8, true, false, false, 0}, // MOVQ
    {0xe7, P_66, 0, true, true, false, 0},  // MOVNTDQ
};

struct cursor {
    const uint8_t *bytes;
    uint32_t length, position;
    enum decode_result error;
    struct instruction *instruction;
    bool operand_prefix, address_prefix;
    uint8_t rex; // 0x40..0x4f, 0 none; VEX fills it as well
    bool vex, vex_256;
    uint8_t segment_override; // 0xff none
    uint8_t mandatory;        // enum mandatory
    uint8_t opcode;
    bool has_modrm;
    uint8_t modrm;
};

static uint64_t take(struct cursor *cursor, unsigned size) {
    uint64_t value = 0;

    if (cursor->position + size > INSTRUCTION_MAX) {
        if (cursor->error == DECODED)
            cursor->error = DECODE_TOO_LONG;
        return 0;
    }
    if (cursor->position + size > cursor->length) {
        if (cursor->error == DECODED)
            cursor->error = DECODE_TRUNCATED;
        return 0;
    }
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)cursor->bytes[cursor->position + i] << (8 * i);
    cursor->position += size;
    return value;
}

static uint64_t take_signed(struct cursor *cursor, unsigned size) {
    uint64_t value = take(cursor, size);
    unsigned shift = 64 - 8 * size;

    return (uint64_t)((int64_t)(value << shift) >> shift);
}

static bool rex_bit(const struct cursor *cursor, unsigned bit) {
    return cursor->rex >> bit & 1;
}

// -- prefixes --

static bool legacy_prefix(struct cursor *cursor, uint8_t byte) {
    struct instruction *instruction = cursor->instruction;

    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
        // ES, CS, SS, DS: ignored in 64-bit code, and do not undo FS or GS there.
        if (instruction->mode != CODE_64)
            cursor->segment_override = (byte >> 3) & 3;
        return true;
    case 0x64:
    case 0x65:
        cursor->segment_override = byte == 0x64 ? SEG_FS : SEG_GS;
        return true;
    case 0x66:
        cursor->operand_prefix = true;
        return true;
    case 0x67:
        cursor->address_prefix = true;
        return true;
    case 0xf0:
        instruction->lock = true;
        return true;
    case 0xf2:
        instruction->repeat = REPEAT_REPNE;
        return true;
    case 0xf3:
        instruction->repeat = REPEAT_REP;
        return true;
    default:
        return false;
    }
}

static uint8_t take_prefixes(struct cursor *cursor) {
    uint8_t byte;

    for (;;) {
        byte = (uint8_t)take(cursor, 1);
        if (cursor->error != DECODED)
            return 0;
        if (legacy_prefix(cursor, byte)) {
            cursor->rex = 0; // REX counts only right before the opcode
            continue;
        }
        if (cursor->instruction->mode == CODE_64 && (byte & 0xf0) == 0x40) {
            cursor->rex = byte;
            continue;
        }
        return byte;
    }
}

static void set_sizes(struct cursor *cursor) {
    struct instruction *instruction = cursor->instruction;
    bool wide = instruction->mode != CODE_16;

    instruction->operand_size = wide != cursor->operand_prefix ? 4 : 2;
    if (rex_bit(cursor, 3))
        instruction->operand_size = 8;
    if (instruction->mode == CODE_64)
        instruction->address_size = cursor->address_prefix ? 4 : 8;
    else
        instruction->address_size = wide != cursor->address_prefix ? 4 : 2;
}

static void set_mandatory(struct cursor *cursor) {
    if (cursor->instruction->repeat == REPEAT_REP)
        cursor->mandatory = P_F3;
    else if (cursor->instruction->repeat == REPEAT_REPNE)
        cursor->mandatory = P_F2;
    else
        cursor->mandatory = cursor->operand_prefix ? P_66 : P_NONE;
}

// VEX of map 0F with vvvv unused: the vector moves (SDM vol. 2 2.3). False if not such.
static bool take_vex(struct cursor *cursor, uint8_t escape) {
    uint8_t first = (uint8_t)take(cursor, 1), last = first;
    uint8_t map = 1;

    if (cursor->rex || cursor->operand_prefix || cursor->instruction->repeat ||
        cursor->instruction->lock) {
        cursor->error = cursor->error == DECODED ? DECODE_INVALID : cursor->error;
        return false;
    }
    cursor->rex = 0x40 | (first & 0x80 ? 0 : 4); // R, inverted
    if (escape == 0xc4) {
        map = first & 0x1f;
        cursor->rex |= (first & 0x40 ? 0 : 2) | (first & 0x20 ? 0 : 1);
        last = (uint8_t)take(cursor, 1);
        cursor->rex |= last & 0x80 ? 8 : 0;
    }
    // Outside 64-bit code there are eight registers, and none of 64 bits.
    if (cursor->instruction->mode != CODE_64)
        cursor->rex = 0x40;
    cursor->vex = true;
    cursor->vex_256 = last & 4;
    cursor->mandatory = last & 3;
    if (map != 1)
        return false;
    cursor->opcode = (uint8_t)take(cursor, 1);
    // MOVLPS/MOVHPS loads merge with vvvv; the register it names is not decoded here.
    return (last & 0x78) == 0x78;
}

// -- ModRM --

static void memory_16(struct cursor *cursor) {
    // BX+SI, BX+DI, BP+SI, BP+DI, SI, DI, BP, BX
    static const int8_t bases[8] = {3, 3, 5, 5, 6, 7, 5, 3};
    static const int8_t indexes[8] = {6, 7, 6, 7, -1, -1, -1, -1};
    struct instruction *instruction = cursor->instruction;
    unsigned mod = cursor->modrm >> 6, rm = cursor->modrm & 7;

    instruction->base = bases[rm];
    instruction->index = indexes[rm];
    if (mod == 0 && rm == 6) {
        instruction->base = -1;
        instruction->displacement = (int64_t)take_signed(cursor, 2);
    } else if (mod == 1) {
        instruction->displacement = (int64_t)take_signed(cursor, 1);
    } else if (mod == 2) {
        instruction->displacement = (int64_t)take_signed(cursor, 2);
    }
}

static void memory_sib(struct cursor *cursor, unsigned mod) {
    struct instruction *instruction = cursor->instruction;
    uint8_t sib = (uint8_t)take(cursor, 1);
    unsigned index = ((sib >> 3) & 7) | (unsigned)rex_bit(cursor, 1) << 3;

    instruction->scale = (uint8_t)(1u << (sib >> 6));
    instruction->index = index == 4 ? -1 : (int8_t)index;
    if ((sib & 7) == 5 && mod == 0) {
        instruction->base = -1;
        instruction->displacement = (int64_t)take_signed(cursor, 4);
    } else {
        instruction->base = (int8_t)((sib & 7) | rex_bit(cursor, 0) << 3);
    }
}

static void memory_32(struct cursor *cursor) {
    struct instruction *instruction = cursor->instruction;
    unsigned mod = cursor->modrm >> 6, rm = cursor->modrm & 7;

    if (rm == 4) {
        memory_sib(cursor, mod);
    } else if (rm == 5 && mod == 0) {
        instruction->base = instruction->mode == CODE_64 ? DECODED_BASE_RIP : -1;
        instruction->displacement = (int64_t)take_signed(cursor, 4);
    } else {
        instruction->base = (int8_t)(rm | (unsigned)rex_bit(cursor, 0) << 3);
    }
    if (mod == 1)
        instruction->displacement = (int64_t)take_signed(cursor, 1);
    else if (mod == 2)
        instruction->displacement = (int64_t)take_signed(cursor, 4);
}

static void take_modrm(struct cursor *cursor) {
    if (cursor->has_modrm)
        return;
    cursor->has_modrm = true;
    cursor->modrm = (uint8_t)take(cursor, 1);
    if (cursor->modrm >> 6 == 3)
        return;
    if (cursor->instruction->address_size == 2)
        memory_16(cursor);
    else
        memory_32(cursor);
}

static bool is_memory(const struct cursor *cursor) {
    return cursor->modrm >> 6 != 3;
}

static void default_segment(struct cursor *cursor) {
    struct instruction *instruction = cursor->instruction;

    // BP/SP as base mean the stack segment (also with an index: BP+SI).
    instruction->segment = instruction->base == 4 || instruction->base == 5 ? SEG_SS : SEG_DS;
    if (cursor->segment_override != 0xff)
        instruction->segment = cursor->segment_override;
}

// -- operands --

static struct operand general(const struct cursor *cursor, unsigned reg, uint8_t size) {
    struct operand operand = {.kind = OPERAND_REGISTER, .reg = (uint8_t)reg, .size = size};

    // Without REX byte registers 4 to 7 are AH, CH, DH, BH.
    if (size == 1 && reg >= 4 && reg < 8 && !cursor->rex) {
        operand.reg = (uint8_t)(reg - 4);
        operand.high_byte = true;
    }
    return operand;
}

static struct operand modrm_reg(const struct cursor *cursor, uint8_t size) {
    return general(cursor, ((cursor->modrm >> 3) & 7) | (unsigned)rex_bit(cursor, 2) << 3, size);
}

static struct operand modrm_rm(const struct cursor *cursor, uint8_t size) {
    if (is_memory(cursor))
        return (struct operand){.kind = OPERAND_MEMORY, .size = size};
    return general(cursor, (cursor->modrm & 7) | (unsigned)rex_bit(cursor, 0) << 3, size);
}

static struct operand accumulator(uint8_t size) {
    return (struct operand){.kind = OPERAND_REGISTER, .reg = 0, .size = size};
}

static struct operand immediate(struct cursor *cursor, unsigned bytes, uint8_t size) {
    cursor->instruction->immediate = take_signed(cursor, bytes);
    return (struct operand){.kind = OPERAND_IMMEDIATE, .size = size};
}

static void set_operands(struct instruction *instruction, struct operand destination,
                         struct operand source) {
    instruction->destination = destination;
    instruction->source = source;
    if (instruction->operation != OP_NOP && instruction->operand_size < 16 && destination.size)
        instruction->operand_size = destination.size;
}

static void moffs(struct cursor *cursor, uint8_t size, bool store) {
    struct instruction *instruction = cursor->instruction;
    struct operand memory = {.kind = OPERAND_MEMORY, .size = size};

    instruction->displacement = (int64_t)take(cursor, instruction->address_size);
    if (store)
        set_operands(instruction, memory, accumulator(size));
    else
        set_operands(instruction, accumulator(size), memory);
}

// Near branches and stack operations are 64-bit in 64-bit code, 16 with a prefix.
static uint8_t stack_size(const struct cursor *cursor, uint8_t size) {
    if (cursor->instruction->mode != CODE_64)
        return size;
    if (cursor->instruction->operation == OP_CALL || cursor->instruction->operation == OP_JMP)
        return 8;
    return cursor->operand_prefix && !rex_bit(cursor, 3) ? 2 : 8;
}

static void lay_out(struct cursor *cursor, enum layout layout) {
    const struct operand none = {0};
    struct instruction *instruction = cursor->instruction;
    uint8_t size = instruction->operand_size;
    uint8_t immediate_size = size == 8 ? 4 : size;
    uint8_t port_size = size == 8 ? 4 : size;
    struct operand cl = {.kind = OPERAND_REGISTER, .reg = 1, .size = 1};
    struct operand dx = {.kind = OPERAND_REGISTER, .reg = 2, .size = 2};
    struct operand memory;

    switch (layout) {
    case L_EB_GB:
        set_operands(instruction, modrm_rm(cursor, 1), modrm_reg(cursor, 1));
        break;
    case L_EV_GV:
        set_operands(instruction, modrm_rm(cursor, size), modrm_reg(cursor, size));
        break;
    case L_GB_EB:
        set_operands(instruction, modrm_reg(cursor, 1), modrm_rm(cursor, 1));
        break;
    case L_GV_EV:
        set_operands(instruction, modrm_reg(cursor, size), modrm_rm(cursor, size));
        break;
    case L_EB_IB:
        set_operands(instruction, modrm_rm(cursor, 1), immediate(cursor, 1, 1));
        break;
    case L_EV_IZ:
        set_operands(instruction, modrm_rm(cursor, size), immediate(cursor, immediate_size, size));
        break;
    case L_EV_IB:
        set_operands(instruction, modrm_rm(cursor, size), immediate(cursor, 1, size));
        break;
    case L_EB:
        set_operands(instruction, modrm_rm(cursor, 1), none);
        break;
    case L_EV:
        set_operands(instruction, modrm_rm(cursor, size), none);
        break;
    case L_EB_1:
    case L_EV_1:
        instruction->immediate = 1;
        set_operands(instruction, modrm_rm(cursor, layout == L_EB_1 ? 1 : size),
                     (struct operand){.kind = OPERAND_IMMEDIATE, .size = 1});
        break;
    case L_EB_CL:
        set_operands(instruction, modrm_rm(cursor, 1), cl);
        break;
    case L_EV_CL:
        set_operands(instruction, modrm_rm(cursor, size), cl);
        break;
    case L_AL_OB:
        moffs(cursor, 1, false);
        break;
    case L_AX_OV:
        moffs(cursor, size, false);
        break;
    case L_OB_AL:
        moffs(cursor, 1, true);
        break;
    case L_OV_AX:
        moffs(cursor, size, true);
        break;
    case L_GV_EB:
        set_operands(instruction, modrm_reg(cursor, size), modrm_rm(cursor, 1));
        break;
    case L_GV_EW:
        set_operands(instruction, modrm_reg(cursor, size), modrm_rm(cursor, 2));
        break;
    case L_GV_ED:
        if (instruction->mode != CODE_64) // ARPL there
            cursor->error = DECODE_UNKNOWN;
        set_operands(instruction, modrm_reg(cursor, size), modrm_rm(cursor, size == 2 ? 2 : 4));
        break;
    case L_EV_PUSH:
        memory = modrm_rm(cursor, stack_size(cursor, size));
        instruction->operand_size = memory.size;
        set_operands(instruction, none, memory);
        break;
    case L_EV_POP:
        set_operands(instruction, modrm_rm(cursor, stack_size(cursor, size)), none);
        break;
    case L_STRING_B:
        instruction->operand_size = 1;
        break;
    case L_STRING_V:
        if (instruction->operation == OP_INS || instruction->operation == OP_OUTS)
            instruction->operand_size = port_size;
        break;
    case L_AL_IB:
    case L_AX_IB:
    case L_IB_AL:
    case L_IB_AX:
        memory = accumulator(layout == L_AL_IB || layout == L_IB_AL ? 1 : port_size);
        instruction->operand_size = memory.size;
        instruction->immediate = take(cursor, 1);
        dx = (struct operand){.kind = OPERAND_IMMEDIATE, .size = 1};
        instruction->destination = instruction->operation == OP_IN ? memory : dx;
        instruction->source = instruction->operation == OP_IN ? dx : memory;
        break;
    case L_AL_DX:
    case L_AX_DX:
    case L_DX_AL:
    case L_DX_AX:
        memory = accumulator(layout == L_AL_DX || layout == L_DX_AL ? 1 : port_size);
        instruction->operand_size = memory.size;
        instruction->destination = instruction->operation == OP_IN ? memory : dx;
        instruction->source = instruction->operation == OP_IN ? dx : memory;
        break;
    case L_NOP:
        break;
    case L_MOVNTI:
        if (!is_memory(cursor) || cursor->mandatory != P_NONE)
            cursor->error = DECODE_INVALID;
        set_operands(instruction, modrm_rm(cursor, size == 2 ? 4 : size),
                     modrm_reg(cursor, size == 2 ? 4 : size));
        break;
    case L_EV_SEG:
        if (((cursor->modrm >> 3) & 7) > SEG_GS)
            cursor->error = DECODE_INVALID;
        // To memory it is always 16 bits.
        set_operands(
            instruction, modrm_rm(cursor, is_memory(cursor) ? 2 : size),
            (struct operand){.kind = OPERAND_SEGMENT, .reg = (cursor->modrm >> 3) & 7, .size = 2});
        break;
    case L_AL_IMM:
        set_operands(instruction, accumulator(1), immediate(cursor, 1, 1));
        break;
    case L_AX_IMM:
        set_operands(instruction, accumulator(size), immediate(cursor, immediate_size, size));
        break;
    default:
        cursor->error = DECODE_UNKNOWN;
    }
}

static void lay_out_vector(struct cursor *cursor) {
    struct instruction *instruction = cursor->instruction;
    struct operand memory = {.kind = OPERAND_MEMORY};
    struct operand vector = {.kind = OPERAND_VECTOR,
                             .reg =
                                 (uint8_t)(((cursor->modrm >> 3) & 7) | rex_bit(cursor, 2) << 3)};

    for (unsigned i = 0; i < sizeof vector_forms / sizeof vector_forms[0]; i++) {
        const struct vector_form *form = &vector_forms[i];
        if (form->opcode != cursor->opcode || form->prefix != cursor->mandatory)
            continue;
        uint8_t size = form->size ? form->size : cursor->vex_256 ? 32 : 16;
        if ((form->opcode == 0x6e || (form->opcode == 0x7e && form->prefix == P_66)) &&
            rex_bit(cursor, 3))
            size = 8;
        // VEX.L must be 0 for the short ones; their merging loads take vvvv, see take_vex.
        if (!is_memory(cursor) || (form->size && cursor->vex_256) || (form->partial && cursor->vex))
            break;
        instruction->operation = OP_MOV_VECTOR;
        instruction->operand_size = memory.size = vector.size = size;
        instruction->aligned = form->aligned;
        instruction->vex = cursor->vex;
        instruction->partial = form->partial;
        instruction->vector_offset = form->offset;
        instruction->destination = form->store ? memory : vector;
        instruction->source = form->store ? vector : memory;
        instruction->repeat = REPEAT_NONE; // it was part of the opcode
        return;
    }
    cursor->error = DECODE_UNKNOWN;
}

static bool layout_has_modrm(enum layout layout) {
    switch (layout) {
    case L_AL_OB:
    case L_AX_OV:
    case L_OB_AL:
    case L_OV_AX:
    case L_STRING_B:
    case L_STRING_V:
    case L_AL_IB:
    case L_AX_IB:
    case L_IB_AL:
    case L_IB_AX:
    case L_AL_DX:
    case L_AX_DX:
    case L_DX_AL:
    case L_DX_AX:
    case L_AL_IMM:
    case L_AX_IMM:
        return false;
    default:
        return true;
    }
}

// LOCK stands only before a read-modify-write of memory (SDM vol. 2 LOCK).
static bool may_lock(const struct instruction *instruction) {
    if (instruction->destination.kind != OPERAND_MEMORY)
        return false;
    switch (instruction->operation) {
    case OP_ADD:
    case OP_OR:
    case OP_ADC:
    case OP_SBB:
    case OP_AND:
    case OP_SUB:
    case OP_XOR:
    case OP_XCHG:
    case OP_XADD:
    case OP_CMPXCHG:
    case OP_NOT:
    case OP_NEG:
    case OP_INC:
    case OP_DEC:
    case OP_BTS:
    case OP_BTR:
    case OP_BTC:
        return true;
    default:
        return false;
    }
}

// The opcode's table entry; sets cursor->opcode. MOVBE is alone in its map.
static struct opcode take_opcode(struct cursor *cursor) {
    uint8_t byte = take_prefixes(cursor);
    bool vex_here =
        cursor->instruction->mode == CODE_64 ||
        (cursor->position < cursor->length && cursor->bytes[cursor->position] >> 6 == 3);

    set_mandatory(cursor);
    cursor->opcode = byte;
    if (cursor->error != DECODED)
        return (struct opcode){0};
    // C4 and C5 are LES and LDS outside 64-bit code unless the next byte looks like a register.
    if ((byte == 0xc4 || byte == 0xc5) && vex_here) {
        if (!take_vex(cursor, byte) || two_byte[cursor->opcode].layout != L_VECTOR)
            return (struct opcode){0};
        return two_byte[cursor->opcode];
    }
    if (byte != 0x0f)
        return one_byte[byte];
    cursor->opcode = (uint8_t)take(cursor, 1);
    if (cursor->opcode != 0x38)
        return two_byte[cursor->opcode];
    cursor->opcode = (uint8_t)take(cursor, 1);
    if (cursor->mandatory <= P_66 && cursor->opcode == 0xf0)
        return (struct opcode){OP_MOVBE, L_GV_EV};
    if (cursor->mandatory <= P_66 && cursor->opcode == 0xf1)
        return (struct opcode){OP_MOVBE, L_EV_GV};
    return (struct opcode){0};
}

enum decode_result decode(const uint8_t *bytes, uint32_t len, enum code_mode mode,
                          struct instruction *instruction) {
    struct cursor cursor = {
        .bytes = bytes, .length = len, .instruction = instruction, .segment_override = 0xff};
    struct opcode opcode;

    *instruction = (struct instruction){.mode = (uint8_t)mode, .base = -1, .index = -1, .scale = 1};
    opcode = take_opcode(&cursor);
    if (cursor.error != DECODED)
        return cursor.error;
    if (opcode.layout == L_NONE)
        return DECODE_UNKNOWN;
    set_sizes(&cursor);
    if (layout_has_modrm(opcode.layout))
        take_modrm(&cursor);
    default_segment(&cursor);
    if (opcode.layout == L_GROUP) {
        opcode = groups[opcode.operation][(cursor.modrm >> 3) & 7];
        if (opcode.layout == L_NONE)
            return cursor.error != DECODED ? cursor.error : DECODE_UNKNOWN;
    }
    instruction->operation = opcode.operation;
    instruction->condition = cursor.opcode & 15;
    if (cursor.error != DECODED)
        return cursor.error;
    if (opcode.layout == L_VECTOR)
        lay_out_vector(&cursor);
    else
        lay_out(&cursor, opcode.layout);
    if (cursor.error != DECODED)
        return cursor.error;
    if (instruction->lock && !may_lock(instruction))
        return DECODE_INVALID;
    if (instruction->operation == OP_MOVBE && !is_memory(&cursor))
        return DECODE_INVALID;
    instruction->length = (uint8_t)cursor.position;
    return DECODED;
}
