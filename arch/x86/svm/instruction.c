// SPDX-License-Identifier: BSD-2-Clause
// Parses the few instructions that exits are about.
#include "arch/x86/svm/instruction.h"

#define REX_B (1u << 0)
#define REX_W (1u << 3)

struct prefixes {
    uint8_t count, rex;
    bool operand_size;
};

static bool is_legacy_prefix(uint8_t byte) {
    switch (byte) {
    case 0x26: // segments
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0: // LOCK: MOV CR8 outside 64-bit code (APM vol. 3, MOV CRn)
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}

// REX counts only right before the opcode.
static struct prefixes parse_prefixes(const uint8_t *bytes, unsigned count, bool code_64) {
    struct prefixes prefixes = {0};
    for (; prefixes.count < count; prefixes.count++) {
        uint8_t byte = bytes[prefixes.count];
        if (code_64 && (byte & 0xf0) == 0x40)
            prefixes.rex = byte;
        else if (is_legacy_prefix(byte))
            prefixes.rex = 0;
        else
            break;
        prefixes.operand_size |= byte == 0x66;
    }
    return prefixes;
}

static void parse_group_7(uint8_t modrm, const struct prefixes *prefixes, bool wide,
                          struct svm_instruction *instruction) {
    bool is_register = modrm >= 0xc0;
    if ((modrm >> 3 & 7) == 6) {
        instruction->operation = is_register ? SVM_LMSW : SVM_MEMORY;
    } else if ((modrm >> 3 & 7) == 4) {
        instruction->operation = is_register ? SVM_SMSW : SVM_MEMORY;
        instruction->size = prefixes->rex & REX_W ? 8 : wide != prefixes->operand_size ? 4 : 2;
    }
}

// INT3, INT n and INTO; other opcodes of one byte stay SVM_OTHER. False: too few bytes.
static bool parse_one_byte(const uint8_t *bytes, unsigned count,
                           struct svm_instruction *instruction) {
    bool has_vector = bytes[0] == 0xcd;
    if (bytes[0] < 0xcc || bytes[0] > 0xce)
        return true;
    if (has_vector && count < 2)
        return false;
    instruction->operation = bytes[0] == 0xcc ? SVM_INT3 : SVM_INT;
    instruction->vector = has_vector ? bytes[1] : 4;
    instruction->length = (uint8_t)(instruction->prefixes + 1 + has_vector);
    return true;
}

bool svm_instruction_parse(const uint8_t *bytes, unsigned count, bool code_64, bool code_32,
                           struct svm_instruction *instruction) {
    struct prefixes prefixes = parse_prefixes(bytes, count, code_64);
    *instruction = (struct svm_instruction){.prefixes = prefixes.count};
    bytes += prefixes.count;
    count -= prefixes.count;
    if (!count)
        return false;
    if (bytes[0] != 0x0f)
        return parse_one_byte(bytes, count, instruction);
    if (count < 2)
        return false;
    if (bytes[1] == 0x06) {
        instruction->operation = SVM_CLTS;
        instruction->length = (uint8_t)(prefixes.count + 2);
        return true;
    }
    bool move = bytes[1] >= 0x20 && bytes[1] <= 0x23, group_7 = bytes[1] == 0x01;
    if (!move && !group_7)
        return true;
    if (count < 3)
        return false;
    uint8_t modrm = bytes[2];
    if (move)
        instruction->operation = SVM_MOVE;
    else
        parse_group_7(modrm, &prefixes, code_64 || code_32, instruction);
    instruction->gpr = (uint8_t)((modrm & 7) | (prefixes.rex & REX_B ? 8 : 0));
    instruction->length = (uint8_t)(prefixes.count + 3);
    return true;
}
