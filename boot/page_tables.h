// SPDX-License-Identifier: BSD-2-Clause
// The page tables on which the kernel starts, as boot_info.h promises them.
#pragma once
#include <stdint.h>

// Bytes that page_tables_build needs to map physical memory up to TOP (at least 4 GiB are mapped).
uint64_t page_tables_size(uint64_t top);

// Builds the tables in MEMORY (zeroed here; page aligned; identity mapped) for physical memory up
// to TOP and a kernel image of KERNEL_SIZE bytes at KERNEL_PHYSICAL (2 MiB aligned, at most 1 GiB).
// Returns the value for CR3.
uint64_t page_tables_build(void *memory, uint64_t top, uint64_t kernel_physical,
                           uint64_t kernel_size);
