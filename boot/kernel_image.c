// SPDX-License-Identifier: BSD-2-Clause
// Checks and loads kernel.elf (System V ABI, ELF-64). Pure code: also built for the unit tests.
#include "boot/kernel_image.h"
#include "boot/boot_info.h"
#include <linux/elf.h>
#include <stdbool.h>

#define PAGE_SIZE       4096ull
#define KERNEL_MAX_SIZE (1ull << 30) // the loader maps one page directory at KERNEL_BASE

static bool in_file(uint64_t offset, uint64_t length, size_t size) {
    return offset <= size && length <= size - offset;
}

static const char *check_header(const Elf64_Ehdr *header, size_t size) {
    if (size < sizeof(*header))
        return "too short for an ELF header";
    if (header->e_ident[EI_MAG0] != ELFMAG0 || header->e_ident[EI_MAG1] != ELFMAG1 ||
        header->e_ident[EI_MAG2] != ELFMAG2 || header->e_ident[EI_MAG3] != ELFMAG3)
        return "not an ELF file";
    if (header->e_ident[EI_CLASS] != ELFCLASS64)
        return "not a 64-bit ELF file";
    if (header->e_ident[EI_DATA] != ELFDATA2LSB || header->e_machine != EM_X86_64)
        return "an ELF file for another processor";
    if (header->e_type != ET_EXEC)
        return "not a static executable (ELF type is not EXEC)";
    if (header->e_phentsize != sizeof(Elf64_Phdr) || header->e_phnum == 0)
        return "damaged: no usable program headers";
    if (header->e_phoff % 8 != 0 ||
        !in_file(header->e_phoff, (uint64_t)header->e_phnum * sizeof(Elf64_Phdr), size))
        return "truncated: the program headers are not in the file";
    // The section headers come last in the file, so this finds every truncation.
    if (!in_file(header->e_shoff, (uint64_t)header->e_shnum * header->e_shentsize, size))
        return "truncated: the file ends before its section headers";
    return NULL;
}

static const char *check_segment(const Elf64_Phdr *segment, size_t size, uint64_t lowest) {
    if (segment->p_filesz > segment->p_memsz)
        return "damaged: a segment is larger in the file than in memory";
    if (!in_file(segment->p_offset, segment->p_filesz, size))
        return "truncated: a segment is not in the file";
    if (segment->p_vaddr < KERNEL_BASE || segment->p_vaddr - KERNEL_BASE >= KERNEL_MAX_SIZE ||
        segment->p_memsz > KERNEL_MAX_SIZE - (segment->p_vaddr - KERNEL_BASE))
        return "not an Ashlar kernel: a segment lies outside the kernel's address range";
    if (segment->p_vaddr < lowest)
        return "damaged: segments overlap";
    return NULL;
}

const char *kernel_image_check(const uint8_t *file, size_t size, struct kernel_image *image) {
    const Elf64_Ehdr *header = (const void *)file;
    const char *reason = check_header(header, size);
    if (reason)
        return reason;
    const Elf64_Phdr *segments = (const void *)(file + header->e_phoff);
    uint64_t end = KERNEL_BASE;
    uint64_t offset = 0;
    bool loadable = false, entry_found = false;
    for (unsigned i = 0; i < header->e_phnum; i++) {
        const Elf64_Phdr *segment = &segments[i];
        if (segment->p_type == PT_INTERP || segment->p_type == PT_DYNAMIC)
            return "not a static executable";
        if (segment->p_type != PT_LOAD || segment->p_memsz == 0)
            continue;
        reason = check_segment(segment, size, end);
        if (reason)
            return reason;
        if (loadable && segment->p_vaddr - segment->p_paddr != offset)
            return "damaged: segments are not one contiguous image";
        offset = segment->p_vaddr - segment->p_paddr;
        loadable = true;
        end = segment->p_vaddr + segment->p_memsz;
        if ((segment->p_flags & PF_X) && header->e_entry >= segment->p_vaddr &&
            header->e_entry < segment->p_vaddr + segment->p_filesz)
            entry_found = true;
    }
    if (!loadable)
        return "damaged: nothing to load";
    if (!entry_found)
        return "damaged: the entry point is not in an executable segment";
    image->size = (end - KERNEL_BASE + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    image->entry = header->e_entry;
    return NULL;
}

void kernel_image_load(const uint8_t *file, const struct kernel_image *image, uint8_t *memory) {
    const Elf64_Ehdr *header = (const void *)file;
    const Elf64_Phdr *segments = (const void *)(file + header->e_phoff);
    __builtin_memset(memory, 0, image->size);
    for (unsigned i = 0; i < header->e_phnum; i++) {
        if (segments[i].p_type == PT_LOAD)
            __builtin_memcpy(memory + (segments[i].p_vaddr - KERNEL_BASE),
                             file + segments[i].p_offset, segments[i].p_filesz);
    }
}
