// SPDX-License-Identifier: BSD-2-Clause
// Loading a kernel by the Linux 64-bit boot protocol or by PVH.
#pragma once

#include <stdint.h>

#include "image_file.h"
#include "memory.h"
#include "options.h"

enum entry_mode {
    ENTRY_LONG_MODE,      // Linux: 64 bits, identity-mapped, RSI = boot_params
    ENTRY_PROTECTED_MODE, // PVH: 32 bits, paging off, EBX = hvm_start_info
};

struct kernel_entry {
    enum entry_mode mode;
    uint64_t address;
    uint64_t parameters; // guest address of the structure the kernel is handed
};

// RAM as told to the guest; types are e820's.
struct memory_map_entry {
    uint64_t start;
    uint64_t length;
    uint32_t type;
};

#define MEMORY_MAP_MAX 8

// Fills map and returns the number of entries. The first MiB's holes and the ACPI tables are not
// RAM.
unsigned memory_map_make(const struct guest_memory *memory,
                         struct memory_map_entry map[MEMORY_MAP_MAX]);

// Loads kernel, initrd and command line, whatever the kernel's format is. Exits with a message
// naming the file where it cannot.
struct kernel_entry kernel_load(const struct guest_memory *memory, const struct options *options);

// The two formats. initrd may be NULL.
struct kernel_entry bzimage_load(const struct guest_memory *memory, const struct image_file *kernel,
                                 const struct image_file *initrd, const char *cmdline);
struct kernel_entry pvh_load(const struct guest_memory *memory, const struct image_file *kernel,
                             const struct image_file *initrd, const char *cmdline);

// Reads initrd to the highest place that ends at or below limit and lies above floor; returns its
// guest address.
uint64_t initrd_load(const struct guest_memory *memory, const struct image_file *initrd,
                     uint64_t floor, uint64_t limit);
