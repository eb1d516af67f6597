// SPDX-License-Identifier: BSD-2-Clause
// The host's page tables: kernel mappings, and the table of an address space. One walker
// (arch/x86/mm) serves host, EPT and NPT formats.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum paging_flags {
    PAGING_WRITE = 1,
    PAGING_EXECUTE = 2,
    PAGING_USER = 4,
    PAGING_UNCACHED = 8,
    PAGING_WRITE_COMBINING = 16,
    PAGING_NO_ACCESS =
        64, // alone: the leaf keeps its page, but nobody, kernel included, gets at it
};

uint64_t page_table_create(void);       // PML4 with the kernel half; PHYSICAL_NONE: no memory
void page_table_destroy(uint64_t root); // user half must be empty of leaves
// Maps one page of size 4 KiB, 2 MiB or 1 GiB. Replaces what was there when it is a leaf of the
// same size. 0 or -ENOMEM, -EEXIST (other size).
int page_table_map(uint64_t root, uint64_t address, uint64_t physical, uint64_t size,
                   unsigned flags);
struct page_table_entry {
    uint64_t physical,
        size; // size 0: not present (then: of the hole, so that a scan can skip it in hole_size)
    uint64_t hole_size;
    unsigned flags;
    bool accessed, dirty;
};
struct page_table_entry page_table_lookup(uint64_t root, uint64_t address);
// Takes the leaf at address away and returns what it was. No TLB flush.
struct page_table_entry page_table_unmap(uint64_t root, uint64_t address);
// Tables in the range that are empty are taken out of the tree; page_table_release frees them,
// after the TLB flush. 0: none.
uint64_t page_table_prune(uint64_t root, uint64_t address, uint64_t size);
void page_table_release(uint64_t unhooked);
void page_table_protect(uint64_t root, uint64_t address, unsigned flags);
// Replaces a 2 MiB leaf by 512 4 KiB leaves of the same memory. 0 or -ENOMEM.
int page_table_split(uint64_t root, uint64_t address);
void page_table_load(uint64_t root); // CR3 of this CPU; PHYSICAL_NONE: the kernel's own

// TLB shootdown on the CPUs of the mask (bit per CPU; filtered by the owner), range in bytes; no
// lock held. Large ranges flush all.
void tlb_flush(const uint64_t cpus[4], uint64_t address, uint64_t size);

// Kernel mappings outside the direct map: MMIO and guarded stacks.
void *kernel_map_mmio(uint64_t physical, uint64_t size); // uncached; NULL: no memory
uintptr_t kernel_stack_alloc(
    void); // lowest address of KERNEL_STACK_SIZE bytes with a guard page below; 0: no memory
void kernel_stack_free(uintptr_t stack);
// Gives the memory of surplus free stacks back. Calls other CPUs: no lock held.
void kernel_stack_trim(void);
#define KERNEL_STACK_SIZE 16384ul
