// SPDX-License-Identifier: BSD-2-Clause
// PAT, which hardware keeps, and MTRRs: kept for the guest to read; the second stage's memory types
// are the owner's (SDM vol. 3 12.11, 12.12).
#include "msr_rule.h"

#define MTRR_CAPABILITIES (0x500ull | GUEST_MTRR_VARIABLE) // write-combining, fixed ranges

static bool memory_type_valid(uint8_t type, bool uncached_minus) {
    return type <= 6 ? type != 2 && type != 3 : type == 7 && uncached_minus;
}

static bool all_types_valid(uint64_t value, bool uncached_minus) {
    for (unsigned i = 0; i < 8; i++)
        if (!memory_type_valid((uint8_t)(value >> (8 * i)), uncached_minus))
            return false;
    return true;
}

int write_pat(const struct access *access, uint64_t value) {
    return all_types_valid(value, true) ? write_backend(access, value) : GP;
}

int read_mtrr_capabilities(const struct access *access, uint64_t *value) {
    *value = MTRR_CAPABILITIES;
    return OK;
}

int write_mtrr_default(const struct access *access, uint64_t value) {
    return memory_type_valid((uint8_t)value, false) ? write_field(access, value) : GP;
}

static uint64_t *fixed_mtrr(const struct access *access) {
    uint32_t index = access->index;
    unsigned slot = index == 0x250 ? 0 : index <= 0x259 ? index - 0x258 + 1 : index - 0x268 + 3;

    return &access->msrs->mtrr_fixed[slot];
}

int read_mtrr_fixed(const struct access *access, uint64_t *value) {
    *value = *fixed_mtrr(access);
    return OK;
}

int write_mtrr_fixed(const struct access *access, uint64_t value) {
    if (!all_types_valid(value, false))
        return GP;
    *fixed_mtrr(access) = value;
    return OK;
}

static uint64_t *variable_mtrr(const struct access *access) {
    uint32_t n = access->index - MSR_INDEX_MTRR_BASE0;

    return &access->msrs->mtrr_variable[n / 2][n & 1];
}

int read_mtrr_variable(const struct access *access, uint64_t *value) {
    *value = *variable_mtrr(access);
    return OK;
}

int write_mtrr_variable(const struct access *access, uint64_t value) {
    bool is_mask = access->index & 1;
    unsigned width = access->msrs->cpuid->physical_bits ? access->msrs->cpuid->physical_bits : 52;
    uint64_t reserved = ~((1ull << width) - 1) | (is_mask ? 0x7ff : 0xf00);

    if ((value & reserved) || (!is_mask && !memory_type_valid((uint8_t)value, false)))
        return GP;
    *variable_mtrr(access) = value;
    return OK;
}
