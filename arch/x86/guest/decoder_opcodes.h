// SPDX-License-Identifier: BSD-2-Clause
// The opcodes that the emulator runs: which operation, and where its operands are.
#pragma once
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
    L_GROUP,  // operation by ModRM.reg, see decoder_groups
    L_VECTOR, // by mandatory prefix, see decoder_vector_forms
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

enum mandatory { P_NONE, P_66, P_F3, P_F2 };

struct vector_form {
    uint8_t opcode, prefix; // after 0F; enum mandatory
    uint8_t size;           // 0: 16, or 32 with VEX.L
    bool store, aligned, partial;
    uint8_t offset;
};

extern const struct opcode decoder_one_byte[256];
extern const struct opcode decoder_two_byte[256]; // after 0F
extern const struct opcode decoder_groups[GROUP_COUNT][8];
extern const struct vector_form decoder_vector_forms[];
extern const unsigned decoder_vector_form_count;
