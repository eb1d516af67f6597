// SPDX-License-Identifier: BSD-2-Clause
// Opcode tables (SDM vol. 2 appendix A).
#include "decoder_opcodes.h"

#define ARITHMETIC(base, op)                                                                       \
    [base] = {op, L_EB_GB}, [base + 1] = {op, L_EV_GV}, [base + 2] = {op, L_GB_EB},                \
    [base + 3] = {op, L_GV_EV}, [base + 4] = {op, L_AL_IMM}, [base + 5] = {op, L_AX_IMM}

const struct opcode decoder_one_byte[256] = {
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

const struct opcode decoder_two_byte[256] = {
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

const struct opcode decoder_groups[GROUP_COUNT][8] = {
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

// Moves between a vector register and memory. Size 8 with REX.W = 4 without for 6E/7E.
const struct vector_form decoder_vector_forms[] = {
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
const unsigned decoder_vector_form_count =
    sizeof decoder_vector_forms / sizeof decoder_vector_forms[0];
