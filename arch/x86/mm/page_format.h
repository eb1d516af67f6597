// SPDX-License-Identifier: BSD-2-Clause
// How the entries of a page table are written. The walker (page_walker.h) knows only this.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/paging.h"

struct page_format {
    uint64_t present;    // an entry with any of these bits is in use
    uint64_t table_bits; // of an entry that points to a table
    uint64_t large;      // set in a leaf above 4 KiB
    uint64_t accessed, dirty;
    uint64_t read;   // set in every leaf but hidden ones
    uint64_t hidden; // marks a leaf that keeps its page but that the CPU takes for absent
    uint64_t write, user, no_execute, execute, global; // 0 where the format has no such bit
    uint64_t uncached, write_combining, write_back;    // memory types, as values of their field
    uint64_t largest;                                  // bytes of the largest leaf
    unsigned levels;
    // Where not 0, an entry names the level of the table it points to in a field that counts in
    // this, 0 in a leaf; there is no `large` then.
    uint64_t next_level;
    bool flush; // tables are read from memory past the caches
};

// Kernel mappings only: kept over a CR3 load. Internal to arch/x86/mm.
#define PAGING_GLOBAL 32u

#define PAGE_ENTRY_ADDRESS 0x000ffffffffff000ull

extern const struct page_format host_format;
// EPT: guest pages are write-back unless asked otherwise; IPAT clear.
extern const struct page_format ept_format;
extern const struct page_format npt_format;
// What IOMMUs walk. VT-d's is narrowed to what the units can do.
extern const struct page_format vtd_format, amd_vi_format;
