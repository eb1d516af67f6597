// SPDX-License-Identifier: BSD-2-Clause
// The decoder against Zydis: length, operation, operands and sizes of arbitrary and of structured
// byte strings. Each input is one string, and the seed of as many structured ones as BATCH says.
// Sources: arch/x86/guest/decoder.c arch/x86/guest/decoder_opcodes.c
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "arch/x86/guest/decoder.h"

#define BATCH 255

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What an operation is called there. Those with a condition and the vector moves have tables of
// their own.
static const struct {
    uint8_t operation; // enum operation
    uint16_t mnemonic;
} names[] = {
    {OP_ADD, ZYDIS_MNEMONIC_ADD},         {OP_OR, ZYDIS_MNEMONIC_OR},
    {OP_ADC, ZYDIS_MNEMONIC_ADC},         {OP_SBB, ZYDIS_MNEMONIC_SBB},
    {OP_AND, ZYDIS_MNEMONIC_AND},         {OP_SUB, ZYDIS_MNEMONIC_SUB},
    {OP_XOR, ZYDIS_MNEMONIC_XOR},         {OP_CMP, ZYDIS_MNEMONIC_CMP},
    {OP_MOV, ZYDIS_MNEMONIC_MOV},         {OP_MOVZX, ZYDIS_MNEMONIC_MOVZX},
    {OP_MOVSX, ZYDIS_MNEMONIC_MOVSX},     {OP_MOVSX, ZYDIS_MNEMONIC_MOVSXD},
    {OP_TEST, ZYDIS_MNEMONIC_TEST},       {OP_XCHG, ZYDIS_MNEMONIC_XCHG},
    {OP_XADD, ZYDIS_MNEMONIC_XADD},       {OP_CMPXCHG, ZYDIS_MNEMONIC_CMPXCHG},
    {OP_NOT, ZYDIS_MNEMONIC_NOT},         {OP_NEG, ZYDIS_MNEMONIC_NEG},
    {OP_INC, ZYDIS_MNEMONIC_INC},         {OP_DEC, ZYDIS_MNEMONIC_DEC},
    {OP_BT, ZYDIS_MNEMONIC_BT},           {OP_BTS, ZYDIS_MNEMONIC_BTS},
    {OP_BTR, ZYDIS_MNEMONIC_BTR},         {OP_BTC, ZYDIS_MNEMONIC_BTC},
    {OP_ROL, ZYDIS_MNEMONIC_ROL},         {OP_ROR, ZYDIS_MNEMONIC_ROR},
    {OP_RCL, ZYDIS_MNEMONIC_RCL},         {OP_RCR, ZYDIS_MNEMONIC_RCR},
    {OP_SHL, ZYDIS_MNEMONIC_SHL},         {OP_SHR, ZYDIS_MNEMONIC_SHR},
    {OP_SAR, ZYDIS_MNEMONIC_SAR},         {OP_PUSH, ZYDIS_MNEMONIC_PUSH},
    {OP_POP, ZYDIS_MNEMONIC_POP},         {OP_MOVS, ZYDIS_MNEMONIC_MOVSB},
    {OP_MOVS, ZYDIS_MNEMONIC_MOVSW},      {OP_MOVS, ZYDIS_MNEMONIC_MOVSD},
    {OP_MOVS, ZYDIS_MNEMONIC_MOVSQ},      {OP_STOS, ZYDIS_MNEMONIC_STOSB},
    {OP_STOS, ZYDIS_MNEMONIC_STOSW},      {OP_STOS, ZYDIS_MNEMONIC_STOSD},
    {OP_STOS, ZYDIS_MNEMONIC_STOSQ},      {OP_LODS, ZYDIS_MNEMONIC_LODSB},
    {OP_LODS, ZYDIS_MNEMONIC_LODSW},      {OP_LODS, ZYDIS_MNEMONIC_LODSD},
    {OP_LODS, ZYDIS_MNEMONIC_LODSQ},      {OP_CMPS, ZYDIS_MNEMONIC_CMPSB},
    {OP_CMPS, ZYDIS_MNEMONIC_CMPSW},      {OP_CMPS, ZYDIS_MNEMONIC_CMPSD},
    {OP_CMPS, ZYDIS_MNEMONIC_CMPSQ},      {OP_SCAS, ZYDIS_MNEMONIC_SCASB},
    {OP_SCAS, ZYDIS_MNEMONIC_SCASW},      {OP_SCAS, ZYDIS_MNEMONIC_SCASD},
    {OP_SCAS, ZYDIS_MNEMONIC_SCASQ},      {OP_INS, ZYDIS_MNEMONIC_INSB},
    {OP_INS, ZYDIS_MNEMONIC_INSW},        {OP_INS, ZYDIS_MNEMONIC_INSD},
    {OP_OUTS, ZYDIS_MNEMONIC_OUTSB},      {OP_OUTS, ZYDIS_MNEMONIC_OUTSW},
    {OP_OUTS, ZYDIS_MNEMONIC_OUTSD},      {OP_IN, ZYDIS_MNEMONIC_IN},
    {OP_OUT, ZYDIS_MNEMONIC_OUT},         {OP_MOVBE, ZYDIS_MNEMONIC_MOVBE},
    {OP_MOVNTI, ZYDIS_MNEMONIC_MOVNTI},   {OP_NOP, ZYDIS_MNEMONIC_NOP},
    {OP_NOP, ZYDIS_MNEMONIC_PREFETCH},    {OP_NOP, ZYDIS_MNEMONIC_PREFETCHW},
    {OP_NOP, ZYDIS_MNEMONIC_PREFETCHWT1}, {OP_NOP, ZYDIS_MNEMONIC_PREFETCHNTA},
    {OP_NOP, ZYDIS_MNEMONIC_PREFETCHT0},  {OP_NOP, ZYDIS_MNEMONIC_PREFETCHT1},
    {OP_NOP, ZYDIS_MNEMONIC_PREFETCHT2},  {OP_CALL, ZYDIS_MNEMONIC_CALL},
    {OP_JMP, ZYDIS_MNEMONIC_JMP},         {OP_MOV_SEGMENT, ZYDIS_MNEMONIC_MOV},
    {OP_RSM, ZYDIS_MNEMONIC_RSM},
};

static const uint16_t vector_moves[] = {
    ZYDIS_MNEMONIC_MOVUPS,  ZYDIS_MNEMONIC_MOVUPD,   ZYDIS_MNEMONIC_MOVSS,
    ZYDIS_MNEMONIC_MOVSD,   ZYDIS_MNEMONIC_MOVLPS,   ZYDIS_MNEMONIC_MOVLPD,
    ZYDIS_MNEMONIC_MOVHPS,  ZYDIS_MNEMONIC_MOVHPD,   ZYDIS_MNEMONIC_MOVAPS,
    ZYDIS_MNEMONIC_MOVAPD,  ZYDIS_MNEMONIC_MOVNTPS,  ZYDIS_MNEMONIC_MOVNTPD,
    ZYDIS_MNEMONIC_MOVD,    ZYDIS_MNEMONIC_MOVQ,     ZYDIS_MNEMONIC_MOVDQA,
    ZYDIS_MNEMONIC_MOVDQU,  ZYDIS_MNEMONIC_MOVNTDQ,  ZYDIS_MNEMONIC_VMOVUPS,
    ZYDIS_MNEMONIC_VMOVUPD, ZYDIS_MNEMONIC_VMOVSS,   ZYDIS_MNEMONIC_VMOVSD,
    ZYDIS_MNEMONIC_VMOVLPS, ZYDIS_MNEMONIC_VMOVLPD,  ZYDIS_MNEMONIC_VMOVHPS,
    ZYDIS_MNEMONIC_VMOVHPD, ZYDIS_MNEMONIC_VMOVAPS,  ZYDIS_MNEMONIC_VMOVAPD,
    ZYDIS_MNEMONIC_VMOVD,   ZYDIS_MNEMONIC_VMOVNTPS, ZYDIS_MNEMONIC_VMOVNTPD,
    ZYDIS_MNEMONIC_VMOVQ,   ZYDIS_MNEMONIC_VMOVDQA,  ZYDIS_MNEMONIC_VMOVDQU,
    ZYDIS_MNEMONIC_VMOVNTDQ};

// In the order of the condition codes (SDM vol. 2 appendix B).
static const uint16_t set_on[16] = {
    ZYDIS_MNEMONIC_SETO, ZYDIS_MNEMONIC_SETNO, ZYDIS_MNEMONIC_SETB,  ZYDIS_MNEMONIC_SETNB,
    ZYDIS_MNEMONIC_SETZ, ZYDIS_MNEMONIC_SETNZ, ZYDIS_MNEMONIC_SETBE, ZYDIS_MNEMONIC_SETNBE,
    ZYDIS_MNEMONIC_SETS, ZYDIS_MNEMONIC_SETNS, ZYDIS_MNEMONIC_SETP,  ZYDIS_MNEMONIC_SETNP,
    ZYDIS_MNEMONIC_SETL, ZYDIS_MNEMONIC_SETNL, ZYDIS_MNEMONIC_SETLE, ZYDIS_MNEMONIC_SETNLE};
static const uint16_t move_on[16] = {
    ZYDIS_MNEMONIC_CMOVO, ZYDIS_MNEMONIC_CMOVNO, ZYDIS_MNEMONIC_CMOVB,  ZYDIS_MNEMONIC_CMOVNB,
    ZYDIS_MNEMONIC_CMOVZ, ZYDIS_MNEMONIC_CMOVNZ, ZYDIS_MNEMONIC_CMOVBE, ZYDIS_MNEMONIC_CMOVNBE,
    ZYDIS_MNEMONIC_CMOVS, ZYDIS_MNEMONIC_CMOVNS, ZYDIS_MNEMONIC_CMOVP,  ZYDIS_MNEMONIC_CMOVNP,
    ZYDIS_MNEMONIC_CMOVL, ZYDIS_MNEMONIC_CMOVNL, ZYDIS_MNEMONIC_CMOVLE, ZYDIS_MNEMONIC_CMOVNLE};

struct subject {
    const uint8_t *bytes;
    uint32_t length;
    enum code_mode mode;
    enum decode_result result;
    struct instruction ours;
    bool theirs_valid;
    ZydisDecodedInstruction theirs;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

static ZydisDecoder decoders[3];
static bool ours_for[ZYDIS_MNEMONIC_MAX_VALUE + 1]; // mnemonics that an operation of ours has

static void fail(const struct subject *subject, const char *what) {
    fprintf(stderr, "%s: mode %u, bytes", what, 16u << subject->mode);
    for (uint32_t i = 0; i < subject->length; i++)
        fprintf(stderr, " %02x", subject->bytes[i]);
    fprintf(stderr, "\nours: result %d, operation %u, length %u, operand size %u\ntheirs: ",
            subject->result, subject->ours.operation, subject->ours.length,
            subject->ours.operand_size);
    if (subject->theirs_valid)
        fprintf(stderr, "%s, length %u, operand width %u\n",
                ZydisMnemonicGetString(subject->theirs.mnemonic), subject->theirs.length,
                subject->theirs.operand_width);
    else
        fprintf(stderr, "none\n");
    abort();
}

#define REQUIRE(subject, condition)                                                                \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail(subject, #condition);                                                             \
    } while (0)

static bool is_string(const struct instruction *instruction) {
    return instruction->operation >= OP_MOVS && instruction->operation <= OP_OUTS;
}

static bool same_operation(const struct subject *subject) {
    const struct instruction *ours = &subject->ours;

    if (ours->operation == OP_SETCC)
        return subject->theirs.mnemonic == set_on[ours->condition];
    if (ours->operation == OP_CMOVCC)
        return subject->theirs.mnemonic == move_on[ours->condition];
    if (ours->operation == OP_MOV_VECTOR) {
        for (size_t i = 0; i < sizeof vector_moves / sizeof vector_moves[0]; i++)
            if (subject->theirs.mnemonic == vector_moves[i])
                return true;
        return false;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].operation == ours->operation && names[i].mnemonic == subject->theirs.mnemonic)
            return true;
    return false;
}

static void same_register(const struct subject *subject, const struct operand *ours,
                          ZydisRegister theirs) {
    if (ours->kind == OPERAND_REGISTER && ours->size == 1) {
        bool high = theirs >= ZYDIS_REGISTER_AH && theirs <= ZYDIS_REGISTER_BH;
        unsigned number = theirs >= ZYDIS_REGISTER_SPL ? theirs - ZYDIS_REGISTER_SPL + 4
                          : high                       ? theirs - ZYDIS_REGISTER_AH
                                                       : theirs - ZYDIS_REGISTER_AL;
        REQUIRE(subject, ours->high_byte == high && ours->reg == number);
        return;
    }
    REQUIRE(subject, !ours->high_byte && ours->reg == (uint8_t)ZydisRegisterGetId(theirs));
}

static int8_t gpr(ZydisRegister name) {
    if (name == ZYDIS_REGISTER_NONE)
        return -1;
    if (name == ZYDIS_REGISTER_RIP || name == ZYDIS_REGISTER_EIP)
        return DECODED_BASE_RIP;
    return ZydisRegisterGetId(name);
}

static void same_memory(const struct subject *subject, const ZydisDecodedOperandMem *theirs) {
    const struct instruction *ours = &subject->ours;
    uint64_t mask = ~0ull >> (64 - 8 * ours->address_size);

    REQUIRE(subject, ours->address_size * 8 == subject->theirs.address_width);
    // Zydis 4.0.0 does not see the displacement alone where R13D could stand (SDM vol. 2 table
    // 2-5).
    if (ours->base == -1 && theirs->base == ZYDIS_REGISTER_R13D && theirs->disp.value == 0)
        return;
    REQUIRE(subject, ours->base == gpr(theirs->base) && ours->index == gpr(theirs->index));
    REQUIRE(subject, ours->index < 0 || ours->scale == theirs->scale);
    REQUIRE(subject, (((uint64_t)ours->displacement ^ (uint64_t)theirs->disp.value) & mask) == 0);
    REQUIRE(subject, ours->segment == theirs->segment - ZYDIS_REGISTER_ES);
}

static void same_operand(const struct subject *subject, const struct operand *ours,
                         const ZydisDecodedOperand *theirs) {
    uint64_t mask = 0;

    switch (ours->kind) {
    case OPERAND_REGISTER:
    case OPERAND_VECTOR:
    case OPERAND_SEGMENT:
        REQUIRE(subject, theirs->type == ZYDIS_OPERAND_TYPE_REGISTER);
        same_register(subject, ours, theirs->reg.value);
        if (ours->kind == OPERAND_REGISTER)
            REQUIRE(subject, ours->size * 8 == theirs->size ||
                                 subject->theirs.mnemonic == ZYDIS_MNEMONIC_MOVSXD);
        break;
    case OPERAND_MEMORY:
        REQUIRE(subject, theirs->type == ZYDIS_OPERAND_TYPE_MEMORY);
        // MOVSXD r16, r/m16 (SDM vol. 2 MOVSX): 32 bits of memory there.
        REQUIRE(subject, ours->size * 8 == theirs->size ||
                             (subject->theirs.mnemonic == ZYDIS_MNEMONIC_MOVSXD &&
                              subject->ours.operand_size == 2));
        same_memory(subject, &theirs->mem);
        break;
    case OPERAND_IMMEDIATE:
        REQUIRE(subject, theirs->type == ZYDIS_OPERAND_TYPE_IMMEDIATE);
        if (theirs->imm.is_signed)
            mask = ~0ull >> (64 - 8 * subject->ours.operand_size);
        else
            mask = ~0ull >> (64 - (theirs->size ? theirs->size : 8));
        REQUIRE(subject, ((subject->ours.immediate ^ theirs->imm.value.u) & mask) == 0);
        break;
    default:
        fail(subject, "kind of operand");
    }
}

static void same_string(const struct subject *subject) {
    const struct instruction *ours = &subject->ours;
    ZydisInstructionAttributes attributes = subject->theirs.attributes;

    REQUIRE(subject, ours->address_size * 8 == subject->theirs.address_width);
    for (unsigned i = 0; i < subject->theirs.operand_count; i++)
        if (subject->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
            REQUIRE(subject, ours->operand_size * 8 == subject->operands[i].size);
            // The one that can be overridden: [rSI].
            if (subject->operands[i].mem.base != ZYDIS_REGISTER_RSI &&
                subject->operands[i].mem.base != ZYDIS_REGISTER_ESI &&
                subject->operands[i].mem.base != ZYDIS_REGISTER_SI)
                continue;
            REQUIRE(subject, ours->segment == subject->operands[i].mem.segment - ZYDIS_REGISTER_ES);
        }
    if (ours->operation == OP_CMPS || ours->operation == OP_SCAS) {
        REQUIRE(subject, (ours->repeat == REPEAT_REP) == !!(attributes & ZYDIS_ATTRIB_HAS_REPE));
        REQUIRE(subject, (ours->repeat == REPEAT_REPNE) == !!(attributes & ZYDIS_ATTRIB_HAS_REPNE));
    } else {
        REQUIRE(subject, ours->repeat != REPEAT_REP || attributes & ZYDIS_ATTRIB_HAS_REP);
    }
}

static void same_instruction(const struct subject *subject) {
    const struct instruction *ours = &subject->ours;

    REQUIRE(subject, subject->theirs_valid);
    REQUIRE(subject, ours->length == subject->theirs.length);
    REQUIRE(subject, same_operation(subject));
    REQUIRE(subject, ours->lock == !!(subject->theirs.attributes & ZYDIS_ATTRIB_HAS_LOCK));
    if (is_string(ours)) {
        same_string(subject);
        return;
    }
    if (ours->operation == OP_NOP)
        return;
    const ZydisDecodedOperand *next = subject->operands;
    if (ours->destination.kind != OPERAND_NONE)
        same_operand(subject, &ours->destination, next++);
    if (ours->source.kind != OPERAND_NONE)
        same_operand(subject, &ours->source, next);
}

// Whether the emulator must know it: an operation of ours on memory, but for MMX, far branches,
// loads of segment registers and 82, which nobody uses for 80.
static bool is_ours(const struct subject *subject) {
    const ZydisDecodedInstruction *theirs = &subject->theirs;

    if (theirs->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || !ours_for[theirs->mnemonic])
        return false;
    bool memory = false;
    if (theirs->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && theirs->opcode == 0x82)
        return false;
    if (theirs->opcode_map == ZYDIS_OPCODE_MAP_0F && theirs->opcode == 0xc2) // of SSE
        return false;
    for (unsigned i = 0; i < theirs->operand_count_visible; i++) {
        const ZydisDecodedOperand *operand = &subject->operands[i];
        ZydisRegisterClass class = operand->type == ZYDIS_OPERAND_TYPE_REGISTER
                                       ? ZydisRegisterGetClass(operand->reg.value)
                                       : ZYDIS_REGCLASS_INVALID;
        if (class == ZYDIS_REGCLASS_MMX || (class == ZYDIS_REGCLASS_SEGMENT && i == 0))
            return false;
        memory |= operand->type == ZYDIS_OPERAND_TYPE_MEMORY;
    }
    return memory && theirs->meta.branch_type != ZYDIS_BRANCH_TYPE_FAR;
}

static void check(const uint8_t *bytes, uint32_t length, enum code_mode mode) {
    struct subject subject = {.bytes = bytes, .length = length, .mode = mode};

    subject.result = decode(bytes, length, mode, &subject.ours);
    subject.theirs_valid = ZYAN_SUCCESS(
        ZydisDecoderDecodeFull(&decoders[mode], bytes, length, &subject.theirs, subject.operands));
    switch (subject.result) {
    case DECODED:
        same_instruction(&subject);
        break;
    case DECODE_UNKNOWN:
        REQUIRE(&subject, !subject.theirs_valid || !is_ours(&subject));
        break;
    default:
        REQUIRE(&subject, !subject.theirs_valid);
    }
}

// -- structured strings: prefixes, an opcode of one of the maps, and any bytes --

static uint64_t random_state;

static uint32_t random_below(uint32_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % limit;
}

static void check_structured(void) {
    static const uint8_t prefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26,
                                       0x2e, 0x36, 0x3e, 0x64, 0x65};
    uint8_t bytes[20];
    uint32_t at = 0;
    enum code_mode mode = random_below(3);

    for (uint32_t count = random_below(8) > 4 ? random_below(5) : random_below(2); count; count--)
        bytes[at++] = prefixes[random_below(sizeof prefixes)];
    if (mode == CODE_64 && random_below(2))
        bytes[at++] = (uint8_t)(0x40 + random_below(16));
    switch (random_below(8)) {
    case 0 ... 2:
        bytes[at++] = 0x0f;
        break;
    case 3:
        bytes[at++] = 0x0f;
        bytes[at++] = 0x38;
        bytes[at++] = (uint8_t)(0xf0 + random_below(2));
        break;
    case 4:
        bytes[at++] = 0xc5;
        bytes[at++] = (uint8_t)(random_below(256) | 0x78);
        break;
    case 5:
        bytes[at++] = 0xc4;
        bytes[at++] = (uint8_t)(random_below(8) << 5 | 1);
        bytes[at++] = (uint8_t)(random_below(256) | 0x78);
        break;
    default:
        break;
    }
    while (at < sizeof bytes)
        bytes[at++] = (uint8_t)random_below(256);
    check(bytes, random_below(8) ? INSTRUCTION_MAX + random_below(3) : random_below(16), mode);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    static const struct {
        ZydisMachineMode mode;
        ZydisStackWidth width;
    } modes[] = {[CODE_16] = {ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16},
                 [CODE_32] = {ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32},
                 [CODE_64] = {ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64}};
    // Long NOPs where a processor lacks these.
    static const ZydisDecoderMode extensions[] = {ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                                  ZYDIS_DECODER_MODE_CLDEMOTE};
    (void)argc;
    (void)argv;
    for (size_t i = 0; i < 3; i++) {
        ZydisDecoderInit(&decoders[i], modes[i].mode, modes[i].width);
        for (size_t k = 0; k < sizeof extensions / sizeof extensions[0]; k++)
            ZydisDecoderEnableMode(&decoders[i], extensions[k], ZYAN_FALSE);
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        ours_for[names[i].mnemonic] = true;
    for (size_t i = 0; i < sizeof vector_moves / sizeof vector_moves[0]; i++)
        ours_for[vector_moves[i]] = true;
    for (size_t i = 0; i < 16; i++)
        ours_for[set_on[i]] = ours_for[move_on[i]] = true;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    uint32_t length = size > 18 ? 17 : (uint32_t)size - 1;
    uint8_t *bytes = malloc(length ? length : 1); // of the exact size, for AddressSanitizer
    if (!bytes)
        return 0;
    memcpy(bytes, data + 1, length);
    check(bytes, length, data[0] % 3);
    free(bytes);
    random_state = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < size; i++)
        random_state = (random_state ^ data[i]) * 0x100000001b3;
    random_state |= 1; // never all zeros
    for (unsigned i = 0; i < BATCH; i++)
        check_structured();
    return 0;
}
