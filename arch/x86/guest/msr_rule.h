// SPDX-License-Identifier: BSD-2-Clause
// One access to a guest MSR, the rule for it, and the plain kinds of reading and writing; shared by
// the files that hold MSRs with rules of their own.
#pragma once
#include "msr.h"

#define OK 0
#define GP GUEST_MSR_INVALID

struct access {
    struct guest_msrs *msrs;
    const struct msr_rule *rule;
    uint32_t index;
    bool host;
};

struct msr_rule {
    uint32_t first;
    uint16_t count; // MSRs from first on
    bool saved;     // in guest_msr_index_list
    int (*read)(const struct access *access, uint64_t *value);
    int (*write)(const struct access *access, uint64_t value); // NULL: read-only
    uint16_t field;    // offset in struct guest_msrs, or enum backend_register
    uint64_t reserved; // bits that must be zero in a write
    uint64_t feature;  // CPUID feature the guest needs; 0 none
};

static inline uint64_t *field_of(const struct access *access) {
    return (uint64_t *)((uint8_t *)access->msrs + access->rule->field);
}

static inline int read_field(const struct access *access, uint64_t *value) {
    *value = *field_of(access);
    return OK;
}

static inline int write_field(const struct access *access, uint64_t value) {
    *field_of(access) = value;
    return OK;
}

static inline int read_backend(const struct access *access, uint64_t *value) {
    *value = access->msrs->backend->get(access->msrs, access->rule->field);
    return OK;
}

static inline int write_backend(const struct access *access, uint64_t value) {
    return access->msrs->backend->set(access->msrs, access->rule->field, value);
}

// -- memory types (msr_memory_type.c) --
int write_pat(const struct access *access, uint64_t value);
int read_mtrr_capabilities(const struct access *access, uint64_t *value);
int write_mtrr_default(const struct access *access, uint64_t value);
int read_mtrr_fixed(const struct access *access, uint64_t *value);
int write_mtrr_fixed(const struct access *access, uint64_t value);
int read_mtrr_variable(const struct access *access, uint64_t *value);
int write_mtrr_variable(const struct access *access, uint64_t value);

// -- machine check (msr_machine_check.c) --
int read_mcg_ctl(const struct access *access, uint64_t *value);
int write_mcg_ctl(const struct access *access, uint64_t value);
int read_mc_bank(const struct access *access, uint64_t *value);
int write_mc_bank(const struct access *access, uint64_t value);
int read_mc_ctl2(const struct access *access, uint64_t *value);
int write_mc_ctl2(const struct access *access, uint64_t value);
