// SPDX-License-Identifier: BSD-2-Clause
// An exception an emulated access raises in the guest.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum {
    GUEST_DE = 0,
    GUEST_DB = 1,
    GUEST_BP = 3,
    GUEST_OF = 4,
    GUEST_UD = 6,
    GUEST_NM = 7,
    GUEST_SS = 12,
    GUEST_GP = 13,
    GUEST_PF = 14,
    GUEST_AC = 17,
    GUEST_MC = 18,
};

struct guest_exception {
    uint8_t vector;
    bool has_error_code;
    uint32_t error_code;
    uint64_t cr2; // only for #PF
};
