// SPDX-License-Identifier: BSD-2-Clause
// Instruction decoder: prefixes, ModRM/SIB, displacement, immediate.
#include "decoder_opcodes.h"

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

    if (cursor->position + size > cursor->length) {
        bool too_long = cursor->position + size > INSTRUCTION_MAX;
        if (cursor->error == DECODED)
            cursor->error = too_long ? DECODE_TOO_LONG : DECODE_TRUNCATED;
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
        if (decoder_one_byte[byte].layout != L_NONE) // most often, and no prefix has an entry
            return byte;
        if (cursor->instruction->mode == CODE_64 && (byte & 0xf0) == 0x40)
            cursor->rex = byte;
        else if (legacy_prefix(cursor, byte))
            cursor->rex = 0; // REX counts only right before the opcode
        else
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

    for (unsigned i = 0; i < decoder_vector_form_count; i++) {
        const struct vector_form *form = &decoder_vector_forms[i];
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
        if (!take_vex(cursor, byte) || decoder_two_byte[cursor->opcode].layout != L_VECTOR)
            return (struct opcode){0};
        return decoder_two_byte[cursor->opcode];
    }
    if (byte != 0x0f)
        return decoder_one_byte[byte];
    cursor->opcode = (uint8_t)take(cursor, 1);
    if (cursor->opcode != 0x38)
        return decoder_two_byte[cursor->opcode];
    cursor->opcode = (uint8_t)take(cursor, 1);
    if (cursor->mandatory <= P_66 && cursor->opcode == 0xf0)
        return (struct opcode){OP_MOVBE, L_GV_EV};
    if (cursor->mandatory <= P_66 && cursor->opcode == 0xf1)
        return (struct opcode){OP_MOVBE, L_EV_GV};
    return (struct opcode){0};
}

enum decode_result decode(const uint8_t *bytes, uint32_t len, enum code_mode mode,
                          struct instruction *instruction) {
    struct cursor cursor = {.bytes = bytes,
                            .length = len < INSTRUCTION_MAX ? len : INSTRUCTION_MAX,
                            .instruction = instruction,
                            .segment_override = 0xff};
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
        opcode = decoder_groups[opcode.operation][(cursor.modrm >> 3) & 7];
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
