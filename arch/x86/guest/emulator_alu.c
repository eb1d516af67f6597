// SPDX-License-Identifier: BSD-2-Clause
// Integer operations and their flags (SDM vol. 1 appendix A, vol. 2 per instruction).
#include "emulator_internal.h"

static uint64_t sign_bit(unsigned size) {
    return 1ull << (8 * size - 1);
}

static uint64_t result_flags(uint64_t result, unsigned size) {
    uint64_t flags = 0;

    if (result == 0)
        flags |= FLAG_ZF;
    if (result & sign_bit(size))
        flags |= FLAG_SF;
    if (!__builtin_parity((unsigned)(result & 0xff)))
        flags |= FLAG_PF;
    return flags;
}

static void set_flags(uint64_t *rflags, uint64_t mask, uint64_t flags) {
    *rflags = (*rflags & ~mask) | (flags & mask);
}

static uint64_t add(uint64_t a, uint64_t b, unsigned carry, unsigned size, uint64_t mask,
                    uint64_t *rflags) {
    uint64_t result = (a + b + carry) & size_mask(size);
    uint64_t flags = result_flags(result, size) | ((a ^ b ^ result) & FLAG_AF);

    if (result < a || (carry && result == a))
        flags |= FLAG_CF;
    if ((a ^ result) & (b ^ result) & sign_bit(size))
        flags |= FLAG_OF;
    set_flags(rflags, mask, flags);
    return result;
}

static uint64_t subtract(uint64_t a, uint64_t b, unsigned borrow, unsigned size, uint64_t mask,
                         uint64_t *rflags) {
    uint64_t result = (a - b - borrow) & size_mask(size);
    uint64_t flags = result_flags(result, size) | ((a ^ b ^ result) & FLAG_AF);

    if (a < b || (borrow && a == b))
        flags |= FLAG_CF;
    if ((a ^ b) & (a ^ result) & sign_bit(size))
        flags |= FLAG_OF;
    set_flags(rflags, mask, flags);
    return result;
}

static uint64_t logic(uint64_t result, unsigned size, uint64_t *rflags) {
    set_flags(rflags, FLAGS_STATUS, result_flags(result, size));
    return result;
}

// One bit's step of a shift or rotate. carry in and out.
static uint64_t shift_once(enum operation operation, uint64_t value, unsigned size, bool *carry) {
    uint64_t sign = sign_bit(size), in = 0;
    bool top = value & sign, bottom = value & 1;

    switch (operation) {
    case OP_ROL:
        in = top;
        break;
    case OP_RCL:
        in = *carry;
        break;
    case OP_ROR:
        in = bottom ? sign : 0;
        break;
    case OP_RCR:
        in = *carry ? sign : 0;
        break;
    case OP_SAR:
        in = top ? sign : 0;
        break;
    default:
        break;
    }
    if (operation == OP_ROL || operation == OP_RCL || operation == OP_SHL) {
        *carry = top;
        return ((value << 1) & size_mask(size)) | in;
    }
    *carry = bottom;
    return (value >> 1) | in;
}

static uint64_t shift(enum operation operation, uint64_t value, unsigned count, unsigned size,
                      uint64_t *rflags) {
    bool rotate = operation <= OP_RCR, left, carry = *rflags & FLAG_CF, overflow = false;
    uint64_t sign = sign_bit(size), flags;

    count &= size == 8 ? 63 : 31;
    if (count == 0)
        return value;
    left = operation == OP_ROL || operation == OP_RCL || operation == OP_SHL;
    for (unsigned i = 0; i < count; i++) {
        uint64_t before = value;
        value = shift_once(operation, value, size, &carry);
        // OF is defined for a count of one; like processors, compute it from the last step.
        overflow = left ? ((value & sign) != 0) != carry : ((value ^ before) & sign) != 0;
    }
    flags = (carry ? FLAG_CF : 0) | (overflow ? FLAG_OF : 0);
    if (rotate) {
        set_flags(rflags, FLAG_CF | FLAG_OF, flags);
    } else {
        flags |= result_flags(value, size);
        set_flags(rflags, FLAGS_STATUS & ~FLAG_AF, flags);
    }
    return value;
}

_Static_assert(OP_ROL < OP_RCR && OP_RCR < OP_SHL && OP_RCR - OP_ROL == 3, "rotates first");

static uint64_t bit_operation(enum operation operation, uint64_t a, uint64_t b, unsigned size,
                              uint64_t *rflags) {
    uint64_t bit = 1ull << (b & (8 * size - 1));

    set_flags(rflags, FLAG_CF, a & bit ? FLAG_CF : 0);
    switch (operation) {
    case OP_BTS:
        return a | bit;
    case OP_BTR:
        return a & ~bit;
    case OP_BTC:
        return a ^ bit;
    default:
        return a;
    }
}

uint64_t alu(enum operation operation, uint64_t a, uint64_t b, unsigned size, uint64_t *rflags) {
    unsigned carry = *rflags & FLAG_CF;

    a &= size_mask(size);
    b &= size_mask(size);
    switch (operation) {
    case OP_ADD:
    case OP_XADD:
        return add(a, b, 0, size, FLAGS_STATUS, rflags);
    case OP_ADC:
        return add(a, b, carry, size, FLAGS_STATUS, rflags);
    case OP_SUB:
    case OP_CMP:
    case OP_CMPXCHG:
    case OP_CMPS:
    case OP_SCAS:
        return subtract(a, b, 0, size, FLAGS_STATUS, rflags);
    case OP_SBB:
        return subtract(a, b, carry, size, FLAGS_STATUS, rflags);
    case OP_AND:
    case OP_TEST:
        return logic(a & b, size, rflags);
    case OP_OR:
        return logic(a | b, size, rflags);
    case OP_XOR:
        return logic(a ^ b, size, rflags);
    case OP_INC:
        return add(a, 1, 0, size, FLAGS_STATUS & ~FLAG_CF, rflags);
    case OP_DEC:
        return subtract(a, 1, 0, size, FLAGS_STATUS & ~FLAG_CF, rflags);
    case OP_NEG:
        return subtract(0, a, 0, size, FLAGS_STATUS, rflags);
    case OP_NOT:
        return ~a & size_mask(size);
    case OP_BT:
    case OP_BTS:
    case OP_BTR:
    case OP_BTC:
        return bit_operation(operation, a, b, size, rflags);
    case OP_ROL:
    case OP_ROR:
    case OP_RCL:
    case OP_RCR:
    case OP_SHL:
    case OP_SHR:
    case OP_SAR:
        return shift(operation, a, (unsigned)b, size, rflags);
    default:
        return a;
    }
}

bool condition_holds(unsigned condition, uint64_t rflags) {
    bool less = !(rflags & FLAG_SF) != !(rflags & FLAG_OF), holds;

    switch (condition >> 1) {
    case 0:
        holds = rflags & FLAG_OF;
        break;
    case 1:
        holds = rflags & FLAG_CF;
        break;
    case 2:
        holds = rflags & FLAG_ZF;
        break;
    case 3:
        holds = rflags & (FLAG_CF | FLAG_ZF);
        break;
    case 4:
        holds = rflags & FLAG_SF;
        break;
    case 5:
        holds = rflags & FLAG_PF;
        break;
    case 6:
        holds = less;
        break;
    default:
        holds = less || (rflags & FLAG_ZF);
    }
    return holds != (condition & 1);
}
