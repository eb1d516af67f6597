// SPDX-License-Identifier: BSD-2-Clause
// The Linux/x86 boot protocol's 64-bit entry: Documentation/arch/x86/boot.rst and zero-page.rst.
#include <asm/bootparam.h>
#include <stddef.h>
#include <string.h>

#include "error.h"
#include "guest_kernel.h"
#include "guest_layout.h"

#define SETUP_HEADER_OFFSET   0x1f1
#define HEADER_MAGIC          0x53726448 // "HdrS"
#define PROTOCOL_2_12         0x020c     // the first with xloadflags, and so with a 64-bit entry
#define ENTRY_64_OFFSET       0x200
#define SECTOR_SIZE           512
#define LOADER_TYPE_UNDEFINED 0xff

static void read_setup_header(const struct image_file *kernel, struct setup_header *header) {
    if (kernel->size < SETUP_HEADER_OFFSET + sizeof(*header)) {
        fatal("kernel %s is neither a bzImage nor an ELF image", kernel->path);
    }
    image_file_read(kernel, SETUP_HEADER_OFFSET, header, sizeof(*header));
    if (header->boot_flag != 0xaa55 || header->header != HEADER_MAGIC) {
        fatal("kernel %s is neither a bzImage nor an ELF image", kernel->path);
    }
    if (header->version < PROTOCOL_2_12 || !(header->xloadflags & XLF_KERNEL_64)) {
        fatal("kernel %s has no 64-bit entry (boot protocol %u.%02u)", kernel->path,
              header->version >> 8, header->version & 0xff);
    }
}

// Where the protected-mode part goes. Its preferred address saves the kernel a move of itself.
static uint64_t choose_load_address(const struct guest_memory *memory,
                                    const struct image_file *kernel,
                                    const struct setup_header *header, uint64_t image_size) {
    uint64_t needed = header->init_size > image_size ? header->init_size : image_size;

    if (!memory_pointer(memory, header->pref_address, needed)) {
        fatal("kernel %s needs %llu MiB of guest memory from %llu MiB on", kernel->path,
              (unsigned long long)(needed >> 20), (unsigned long long)(header->pref_address >> 20));
    }
    return header->pref_address;
}

static void fill_memory_map(struct boot_params *params, const struct guest_memory *memory) {
    struct memory_map_entry map[MEMORY_MAP_MAX];

    params->e820_entries = (uint8_t)memory_map_make(memory, map);
    for (unsigned i = 0; i < params->e820_entries; i++) {
        params->e820_table[i].addr = map[i].start;
        params->e820_table[i].size = map[i].length;
        params->e820_table[i].type = map[i].type;
    }
}

struct kernel_entry bzimage_load(const struct guest_memory *memory, const struct image_file *kernel,
                                 const struct image_file *initrd, const char *cmdline) {
    struct setup_header header;
    struct boot_params *params =
        memory_pointer(memory, START_INFO_ADDRESS, sizeof(struct boot_params));

    read_setup_header(kernel, &header);
    uint64_t setup_size = ((header.setup_sects ? header.setup_sects : 4) + 1u) * SECTOR_SIZE;
    if (kernel->size <= setup_size) {
        fatal("kernel %s is cut off in its setup code", kernel->path);
    }
    if (strlen(cmdline) > header.cmdline_size) {
        fatal("the command line is longer than the %u bytes kernel %s takes", header.cmdline_size,
              kernel->path);
    }
    // syssize tells a truncated file from a whole one; a signature may follow what it counts.
    uint64_t image_size = header.syssize * 16ull;
    unsigned long long whole_size = setup_size + image_size;
    if (kernel->size < whole_size) {
        fatal("kernel %s is cut off: %llu bytes of %llu", kernel->path,
              (unsigned long long)kernel->size, whole_size);
    }
    uint64_t load_address = choose_load_address(memory, kernel, &header, image_size);
    image_file_read(kernel, setup_size, memory_pointer(memory, load_address, image_size),
                    image_size);

    memset(params, 0, sizeof(*params));
    params->hdr = header;
    params->hdr.type_of_loader = LOADER_TYPE_UNDEFINED;
    params->hdr.code32_start = (uint32_t)load_address;
    params->hdr.cmd_line_ptr = CMDLINE_ADDRESS;
    params->acpi_rsdp_addr = ACPI_ADDRESS;
    if (initrd) {
        uint64_t floor =
            (load_address + header.init_size + GUEST_PAGE_SIZE - 1) & ~(GUEST_PAGE_SIZE - 1);
        uint64_t limit = header.initrd_addr_max + 1ull;
        params->hdr.ramdisk_image = (uint32_t)initrd_load(memory, initrd, floor, limit);
        params->hdr.ramdisk_size = (uint32_t)initrd->size;
    }
    fill_memory_map(params, memory);
    return (struct kernel_entry){.mode = ENTRY_LONG_MODE,
                                 .address = load_address + ENTRY_64_OFFSET,
                                 .parameters = START_INFO_ADDRESS};
}
