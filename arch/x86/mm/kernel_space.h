// SPDX-License-Identifier: BSD-2-Clause
// The kernel half of every address space: direct map, kernel image, and a window for MMIO and
// guarded stacks.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct boot_info;

// Gives RAM to the page allocator; runs on the loader's page tables. Panics when there is no room
// for the page array.
void boot_memory_init(const struct boot_info *info);
// Four pages below 1 MiB kept for the start of other CPUs (0: none found), and their return to the
// allocator.
uint64_t boot_memory_low_pages(void);
void boot_memory_release_low_pages(void);
// Gives the loader's own memory to the allocator; nothing of it may be in use.
void boot_memory_release_loader(const struct boot_info *info);

// Builds the kernel's page table and loads it. After boot_memory_init.
void kernel_space_init(const struct boot_info *info);
uint64_t kernel_space_root(void); // physical address of the kernel's own PML4
// Whether the kernel can read there without a fault.
bool kernel_space_readable(uint64_t address);
// Physical memory as the kernel sees it: in the direct map if it is RAM, else mapped now
// (uncached). NULL: no memory.
const void *kernel_space_physical(uint64_t physical, uint64_t size);
void *kernel_map_write_combining(uint64_t physical, uint64_t size);
// Window of the kernel's for `size` bytes with a page below that is never mapped. 0: used up.
uint64_t kernel_space_guarded_window(uint64_t size);
// Maps writable memory there, in 4 KiB pages. 0 or -ENOMEM (then perhaps a part is mapped).
int kernel_space_map(uint64_t address, uint64_t physical, uint64_t size);
// Takes it away and returns where it began (0: nowhere). No TLB flush.
uint64_t kernel_space_unmap(uint64_t address, uint64_t size);
uint64_t kernel_space_translate(uint64_t address); // physical address of the page; 0: not mapped

// kernel_stack.c: `size` bytes (a power of two of pages) with a guard page below. 0: no memory.
uintptr_t kernel_guarded_alloc(uint64_t size);
