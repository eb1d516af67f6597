// SPDX-License-Identifier: BSD-2-Clause
// The PVH boot protocol: Xen's docs/misc/pvh.pandoc and the ELF note XEN_ELFNOTE_PHYS32_ENTRY.
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "guest_kernel.h"
#include "guest_layout.h"

#define PHYS32_ENTRY_NOTE   18 // XEN_ELFNOTE_PHYS32_ENTRY
#define NOTES_SIZE_MAX      (1u << 20)
#define PROGRAM_HEADERS_MAX 64u
#define START_MAGIC         0x336ec578u

struct start_info {
    uint32_t magic;
    uint32_t version;
    uint32_t flags;
    uint32_t module_count;
    uint64_t module_list;
    uint64_t cmdline;
    uint64_t rsdp;
    uint64_t memory_map;
    uint32_t memory_map_entries;
    uint32_t reserved;
};

struct start_module {
    uint64_t address;
    uint64_t size;
    uint64_t cmdline;
    uint64_t reserved;
};

struct start_memory_map_entry {
    uint64_t address;
    uint64_t size;
    uint32_t type;
    uint32_t reserved;
};

// Everything handed over, laid out as one block at START_INFO_ADDRESS.
struct start_block {
    struct start_info info;
    struct start_module initrd;
    struct start_memory_map_entry memory_map[MEMORY_MAP_MAX];
};

_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info, version 1");
_Static_assert(sizeof(struct start_memory_map_entry) == 24, "hvm_memmap_table_entry");

static size_t align4(size_t value) {
    return (value + 3) & ~(size_t)3;
}

// The entry point in one note segment, 0 where it has none.
static uint32_t find_entry_note(const uint8_t *notes, size_t size) {
    size_t at = 0;

    while (size - at >= sizeof(Elf64_Nhdr)) {
        Elf64_Nhdr note;
        memcpy(&note, notes + at, sizeof(note));
        size_t name = at + sizeof(note);
        size_t value = name + align4(note.n_namesz);
        size_t next = value + align4(note.n_descsz);
        if (note.n_namesz > size || note.n_descsz > size || value + note.n_descsz > size) {
            return 0;
        }
        if (note.n_type == PHYS32_ENTRY_NOTE && note.n_namesz == 4 && note.n_descsz >= 4 &&
            memcmp(notes + name, "Xen", 4) == 0) {
            uint32_t entry;
            memcpy(&entry, notes + value, sizeof(entry));
            return entry;
        }
        if (next > size) {
            return 0;
        }
        at = next;
    }
    return 0;
}

static uint32_t read_entry_note(const struct image_file *kernel, const Elf64_Phdr *segment) {
    if (segment->p_filesz > NOTES_SIZE_MAX) {
        fatal("kernel %s has a note segment of %llu bytes", kernel->path,
              (unsigned long long)segment->p_filesz);
    }
    uint8_t *notes = malloc(segment->p_filesz + 1);
    if (!notes) {
        fatal("out of memory");
    }
    image_file_read(kernel, segment->p_offset, notes, segment->p_filesz);
    uint32_t entry = find_entry_note(notes, segment->p_filesz);
    free(notes);
    return entry;
}

static void load_segment(const struct guest_memory *memory, const struct image_file *kernel,
                         const Elf64_Phdr *segment) {
    void *target = memory_pointer(memory, segment->p_paddr, segment->p_memsz);

    // The first MiB holds what the monitor itself hands over.
    if (!target || segment->p_paddr < HIGH_RAM_START || segment->p_filesz > segment->p_memsz) {
        fatal("kernel %s wants %llu bytes at %#llx, which the guest's memory does not have",
              kernel->path, (unsigned long long)segment->p_memsz,
              (unsigned long long)segment->p_paddr);
    }
    image_file_read(kernel, segment->p_offset, target, segment->p_filesz);
}

// Loads all segments. Returns the PVH entry; *end is the first address behind the kernel.
static uint32_t load_elf(const struct guest_memory *memory, const struct image_file *kernel,
                         uint64_t *end) {
    Elf64_Ehdr header;
    uint32_t entry = 0;

    image_file_read(kernel, 0, &header, sizeof(header));
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
        header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > PROGRAM_HEADERS_MAX) {
        fatal("kernel %s is no x86-64 ELF image", kernel->path);
    }
    *end = HIGH_RAM_START;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr segment;
        image_file_read(kernel, header.e_phoff + i * sizeof(segment), &segment, sizeof(segment));
        if (segment.p_type == PT_NOTE && !entry) {
            entry = read_entry_note(kernel, &segment);
        } else if (segment.p_type == PT_LOAD && segment.p_memsz) {
            load_segment(memory, kernel, &segment);
            if (segment.p_paddr + segment.p_memsz > *end) {
                *end = segment.p_paddr + segment.p_memsz;
            }
        }
    }
    if (!entry) {
        fatal("kernel %s has no PVH entry (ELF note Xen, type %d)", kernel->path,
              PHYS32_ENTRY_NOTE);
    }
    return entry;
}

struct kernel_entry pvh_load(const struct guest_memory *memory, const struct image_file *kernel,
                             const struct image_file *initrd, const char *cmdline) {
    struct start_block *block = memory_pointer(memory, START_INFO_ADDRESS, sizeof(*block));
    struct memory_map_entry map[MEMORY_MAP_MAX];
    uint64_t kernel_end;
    uint32_t entry = load_elf(memory, kernel, &kernel_end);

    (void)cmdline; // The caller places it at CMDLINE_ADDRESS.
    memset(block, 0, sizeof(*block));
    block->info = (struct start_info){
        .magic = START_MAGIC,
        .version = 1,
        .cmdline = CMDLINE_ADDRESS,
        .rsdp = ACPI_ADDRESS,
        .memory_map = START_INFO_ADDRESS + offsetof(struct start_block, memory_map),
        .memory_map_entries = memory_map_make(memory, map),
    };
    for (unsigned i = 0; i < block->info.memory_map_entries; i++) {
        block->memory_map[i] = (struct start_memory_map_entry){
            .address = map[i].start, .size = map[i].length, .type = map[i].type};
    }
    if (initrd) {
        uint64_t floor = (kernel_end + GUEST_PAGE_SIZE - 1) & ~(GUEST_PAGE_SIZE - 1);
        block->initrd.address = initrd_load(memory, initrd, floor, HOLE_START);
        block->initrd.size = initrd->size;
        block->info.module_count = 1;
        block->info.module_list = START_INFO_ADDRESS + offsetof(struct start_block, initrd);
    }
    return (struct kernel_entry){
        .mode = ENTRY_PROTECTED_MODE, .address = entry, .parameters = START_INFO_ADDRESS};
}
