// SPDX-License-Identifier: BSD-2-Clause
// What the UEFI loader hands to the kernel: one page-aligned structure in memory that stays the
// kernel's.
#pragma once
#include <stdint.h>

#define BOOT_INFO_MAGIC        0x52414c4853413032ull // changes with the layout
#define BOOT_MAX_MEMORY_RANGES 256
#define BOOT_MAX_CPUS          256

// The kernel is linked at KERNEL_BASE; all RAM (and, below 4 GiB, everything) is mapped at
// DIRECT_MAP_BASE + physical. The loader's page tables map: identity (first 4 GiB and all RAM), the
// same range at DIRECT_MAP_BASE, and the kernel at KERNEL_BASE. The kernel replaces them by its own
// at once.
#define KERNEL_BASE     0xffffffff80000000ull
#define DIRECT_MAP_BASE 0xffff800000000000ull

enum boot_memory_type {
    BOOT_MEMORY_FREE =
        1, // usable RAM, boot-services memory included (the loader has left boot services)
    BOOT_MEMORY_RESERVED, // not RAM for us (firmware, runtime services, MMIO that firmware lists)
    BOOT_MEMORY_ACPI,     // ACPI tables
    BOOT_MEMORY_KERNEL,   // kernel image, boot_info, config text: in use for ever
    BOOT_MEMORY_INITRD,   // the initrd
    BOOT_MEMORY_LOADER,   // loader page tables and stack: free once the kernel runs on its own
};

struct boot_memory_range {
    uint64_t base; // physical, bytes, page aligned
    uint64_t size; // bytes
    uint32_t type; // enum boot_memory_type
    uint32_t reserved;
};

struct boot_framebuffer {
    uint64_t base;                               // physical; 0: none
    uint32_t width, height, pitch;               // pixels, pixels, bytes
    uint32_t red_shift, green_shift, blue_shift; // 32-bit pixels
};

struct boot_info {
    uint64_t magic;
    uint64_t entry_tsc;                    // RDTSC just before the jump to the kernel
    uint64_t kernel_physical, kernel_size; // image as loaded (contiguous, 2 MiB aligned), bytes
    uint64_t initrd_physical, initrd_size;
    uint64_t config_physical, config_size; // text of ashlar.conf, checked by the loader
    uint64_t acpi_rsdp;                    // physical; 0: none
    uint64_t efi_system_table;             // physical; 0: none
    struct boot_framebuffer framebuffer;
    uint32_t memory_range_count;
    uint32_t cpu_count;                                      // from MP Services; 0: unknown
    struct boot_memory_range memory[BOOT_MAX_MEMORY_RANGES]; // sorted, not overlapping
    uint32_t cpu_apic_id[BOOT_MAX_CPUS];                     // the boot CPU first
};

// The kernel's entry point: interrupts off, on a loader stack of at least 16 KiB, System V ABI
// (RDI).
typedef void kernel_entry_fn(struct boot_info *info);
