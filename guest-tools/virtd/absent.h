// SPDX-License-Identifier: BSD-2-Clause
// Procedures of libvirt that are not served.
#pragma once

#include <stdint.h>

struct absent {
    uint32_t procedure;
    const char *function; // its name in libvirt
    const char *reason;   // NULL: it is not there, and that is all
};

// NULL: unknown.
const struct absent *absent_find(uint32_t program, uint32_t procedure);
