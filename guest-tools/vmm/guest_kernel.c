// SPDX-License-Identifier: BSD-2-Clause
// What both boot protocols share: choosing the format, the memory map, initrd and command line.
#include "guest_kernel.h"

#include <asm/e820.h>
#include <elf.h>
#include <string.h>

#include "error.h"
#include "guest_layout.h"

unsigned memory_map_make(const struct guest_memory *memory,
                         struct memory_map_entry map[MEMORY_MAP_MAX]) {
    unsigned count = 0;

    map[count++] = (struct memory_map_entry){0, LOW_RAM_END, E820_RAM};
    map[count++] =
        (struct memory_map_entry){FIRMWARE_START, FIRMWARE_END - FIRMWARE_START, E820_RESERVED};
    map[count++] =
        (struct memory_map_entry){HIGH_RAM_START, memory->low_size - HIGH_RAM_START, E820_RAM};
    map[count++] = (struct memory_map_entry){PCI_ECAM_START, PCI_ECAM_SIZE, E820_RESERVED};
    map[count++] = (struct memory_map_entry){
        IDENTITY_MAP_ADDRESS, TSS_ADDRESS + 3 * GUEST_PAGE_SIZE - IDENTITY_MAP_ADDRESS,
        E820_RESERVED};
    if (memory->high_size) {
        map[count++] = (struct memory_map_entry){HOLE_END, memory->high_size, E820_RAM};
    }
    return count;
}

uint64_t initrd_load(const struct guest_memory *memory, const struct image_file *initrd,
                     uint64_t floor, uint64_t limit) {
    if (limit > memory->low_size) {
        limit = memory->low_size;
    }
    if (limit < floor || initrd->size > limit - floor) {
        fatal("initrd %s (%llu KiB) does not fit into %llu MiB of guest memory beside the kernel",
              initrd->path, (unsigned long long)(initrd->size >> 10),
              (unsigned long long)(memory->size >> 20));
    }
    uint64_t address = (limit - initrd->size) & ~(GUEST_PAGE_SIZE - 1);
    if (address < floor) {
        address = floor;
    }
    image_file_read(initrd, 0, memory_pointer(memory, address, initrd->size), initrd->size);
    return address;
}

struct kernel_entry kernel_load(const struct guest_memory *memory, const struct options *options) {
    struct image_file kernel;
    struct image_file initrd;
    const struct image_file *initrd_or_none = NULL;
    struct kernel_entry entry;
    char magic[SELFMAG];

    if (strlen(options->cmdline) >= CMDLINE_MAX) {
        fatal("the guest's command line is longer than %llu bytes", CMDLINE_MAX - 1);
    }
    image_file_open(&kernel, options->kernel, "kernel");
    if (options->initrd) {
        image_file_open(&initrd, options->initrd, "initrd");
        initrd_or_none = &initrd;
    }
    image_file_read(&kernel, 0, magic, sizeof(magic));
    if (memcmp(magic, ELFMAG, SELFMAG) == 0) {
        entry = pvh_load(memory, &kernel, initrd_or_none, options->cmdline);
    } else {
        entry = bzimage_load(memory, &kernel, initrd_or_none, options->cmdline);
    }
    memory_write(memory, CMDLINE_ADDRESS, options->cmdline, strlen(options->cmdline) + 1,
                 "command line");
    image_file_close(&kernel);
    if (initrd_or_none) {
        image_file_close(&initrd);
    }
    return entry;
}
