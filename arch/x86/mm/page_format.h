// SPDX-License-Identifier: BSD-2-Clause
// How an entry of a four-level page table is written. The walker (page_walker.h) knows only this.
#pragma once
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
};

// Kernel mappings only: kept over a CR3 load. Internal to arch/x86/mm.
#define PAGING_GLOBAL 32u

#define PAGE_ENTRY_ADDRESS 0x000ffffffffff000ull

extern const struct page_format host_format;
// EPT: guest pages are write-back unless asked otherwise; IPAT clear. The second one for CPUs with
// 1 GiB pages.
extern const struct page_format ept_format, ept_format_1g;
extern const struct page_format npt_format;
