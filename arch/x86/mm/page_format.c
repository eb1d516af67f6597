// SPDX-License-Identifier: BSD-2-Clause
// The page-table formats.
#include "arch/x86/mm/page_format.h"

#define NO_EXECUTE (1ull << 63)
// Ignored by the CPU, which reads nothing of an entry whose bit 0 is clear (SDM 3A 4.5.4).
#define HIDDEN (1ull << 9)

// SDM 3A 4.5.4; the memory types by PAT as set in cpu_control.c: entry 1 (PWT) is WC, entry 3 (PCD,
// PWT) is UC.
const struct page_format host_format = {
    .present = 1 | HIDDEN,
    .table_bits = 0x7,
    .large = 1 << 7,
    .accessed = 1 << 5,
    .dirty = 1 << 6,
    .read = 1,
    .hidden = HIDDEN,
    .write = 1 << 1,
    .user = 1 << 2,
    .no_execute = NO_EXECUTE,
    .global = 1 << 8,
    .uncached = 0x18,
    .write_combining = 0x08,
    .largest = 1ull << 30,
    .levels = 4,
};

// SDM 3C 29.3.2: read, write, execute in bits 2:0, memory type in 5:3 (0 UC, 1 WC, 6 WB).
const struct page_format ept_format = {
    .present = 0x7,
    .table_bits = 0x7,
    .large = 1 << 7,
    .accessed = 1 << 8,
    .dirty = 1 << 9,
    .read = 1,
    .write = 1 << 1,
    .execute = 1 << 2,
    .uncached = 0 << 3,
    .write_combining = 1 << 3,
    .write_back = 6 << 3,
    .largest = 2 << 20,
    .levels = 4,
};

// AMD APM 2 15.25.5: an ordinary long-mode table whose accesses are all user accesses.
const struct page_format npt_format = {
    .present = 1,
    .table_bits = 0x7,
    .large = 1 << 7,
    .accessed = 1 << 5,
    .dirty = 1 << 6,
    .read = 1 | 1 << 2,
    .write = 1 << 1,
    .no_execute = NO_EXECUTE,
    .uncached = 0x18,
    .write_combining = 0x08,
    .largest = 1ull << 30,
    .levels = 4,
};

// VT-d 4.1, 9.8: second-stage entries.
const struct page_format vtd_format = {
    .present = 0x3,
    .table_bits = 0x3,
    .large = 1 << 7,
    .read = 1,
    .write = 1 << 1,
    .largest = 1ull << 30,
    .levels = 4,
};

// AMD I/O Virtualization 3.05, 2.2.3; coherent.
const struct page_format amd_vi_format = {
    .present = 1,
    .table_bits = 1 | 3ull << 61,
    .read = 1 | 1ull << 60 | 1ull << 61,
    .write = 1ull << 62,
    .largest = 1ull << 30,
    .levels = 4,
    .next_level = 1 << 9,
};
