// SPDX-License-Identifier: BSD-2-Clause
// Walks a guest's page tables in software (SDM vol. 3 ch. 4): none, 32-bit, PAE, 4- and 5-level.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "guest_exception.h"

// What the walk depends on, filled by the owner.
struct guest_paging {
    uint64_t cr0, cr3, cr4, efer;
    uint64_t rflags; // AC, for SMAP
    uint32_t pkru;
    uint8_t cpl;
    uint8_t physical_bits; // guest MAXPHYADDR
    bool gbpages;          // 1 GiB pages offered
};

enum guest_access {
    GUEST_READ = 0,
    GUEST_WRITE = 1 << 0,
    GUEST_FETCH = 1 << 1,
    GUEST_IMPLICIT = 1 << 2,  // supervisor access whatever the CPL (descriptor tables)
    GUEST_NO_SET_AD = 1 << 3, // leave accessed/dirty bits alone (KVM_TRANSLATE)
    GUEST_NO_CHECK = 1 << 4,  // presence only, no rights (KVM_TRANSLATE)
};

struct guest_walk_ops {
    // Reads len (4 or 8) bytes of guest-physical memory. False if there is no memory.
    bool (*read)(void *context, uint64_t gpa, void *data, uint32_t len);
    // Replaces old by new at gpa atomically (len 4 or 8). False if it changed meanwhile or there is
    // no memory: the walk then starts again (a few times).
    bool (*exchange)(void *context, uint64_t gpa, uint64_t old_value, uint64_t new_value,
                     uint32_t len);
};

struct guest_translation {
    uint64_t gpa;
    uint64_t page_size;
    bool writable; // page-table rights alone
    bool user;
};

// access: enum guest_access bits. 0, or -1 with the exception to raise (#PF; #GP/#SS is the
// caller's: the address is taken as canonical).
int guest_walk(const struct guest_paging *paging, const struct guest_walk_ops *ops, void *context,
               uint64_t linear, unsigned access, struct guest_translation *translation,
               struct guest_exception *exception);
// Is linear canonical for the paging mode (48 or 57 bits in long mode; always true outside)?
bool guest_canonical(const struct guest_paging *paging, uint64_t linear);
