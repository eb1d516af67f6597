// SPDX-License-Identifier: BSD-2-Clause
// Checks of an ELF64 executable's headers (System V ABI, x86-64 supplement).
#include <asm/errno.h>
#include <linux/elf.h>
#include "core/process/elf.h"
#include "core/string.h"

#define ELF_PAGE 4096ull

static bool header_valid(const Elf64_Ehdr *header, size_t size) {
    if (memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 ||
        header->e_ident[EI_DATA] != ELFDATA2LSB)
        return false;
    if ((header->e_type != ET_EXEC && header->e_type != ET_DYN) || header->e_machine != EM_X86_64 ||
        header->e_phentsize != sizeof(Elf64_Phdr))
        return false;
    return header->e_phnum != 0 && header->e_phoff <= size &&
           header->e_phnum <= (size - header->e_phoff) / sizeof(Elf64_Phdr);
}

static bool load_valid(const Elf64_Phdr *load, uint64_t file_size, uint64_t limit) {
    return load->p_filesz <= load->p_memsz && load->p_offset <= file_size &&
           load->p_filesz <= file_size - load->p_offset && load->p_vaddr < limit &&
           load->p_memsz < limit - load->p_vaddr &&
           load->p_vaddr % ELF_PAGE == load->p_offset % ELF_PAGE;
}

static int add_segment(struct elf_program *program, const Elf64_Phdr *load) {
    uint64_t start = load->p_vaddr & ~(ELF_PAGE - 1);
    uint64_t end = (load->p_vaddr + load->p_memsz + ELF_PAGE - 1) & ~(ELF_PAGE - 1);
    if (program->segment_count == ELF_SEGMENTS_MAX)
        return -ENOEXEC;
    // In ascending order, as the ABI demands, and not on top of one another.
    if (program->segment_count && load->p_vaddr < program->end - ELF_PAGE)
        return -ENOEXEC;
    if (!program->segment_count)
        program->start = start;
    program->end = end;
    program->segments[program->segment_count++] = (struct elf_segment){
        .address = load->p_vaddr,
        .file_offset = load->p_offset,
        .file_size = load->p_filesz,
        .memory_size = load->p_memsz,
        .read = load->p_flags & PF_R,
        .write = load->p_flags & PF_W,
        .execute = load->p_flags & PF_X,
    };
    return 0;
}

int elf_parse(const void *data, size_t size, uint64_t file_size, uint64_t limit,
              struct elf_program *program) {
    Elf64_Ehdr header;
    *program = (struct elf_program){0};
    if (size < sizeof header)
        return -ENOEXEC;
    memcpy(&header, data, sizeof header);
    if (!header_valid(&header, size))
        return -ENOEXEC;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr entry;
        memcpy(&entry, (const char *)data + header.e_phoff + i * sizeof entry, sizeof entry);
        if (entry.p_type == PT_INTERP) {
            program->interpreter_offset = entry.p_offset;
            program->interpreter_size = entry.p_filesz;
        }
        if (entry.p_type != PT_LOAD || entry.p_memsz == 0)
            continue;
        if (!load_valid(&entry, file_size, limit) || add_segment(program, &entry))
            return -ENOEXEC;
        if (header.e_phoff >= entry.p_offset &&
            header.e_phoff - entry.p_offset + header.e_phnum * sizeof entry <= entry.p_filesz)
            program->header_address = entry.p_vaddr + (header.e_phoff - entry.p_offset);
    }
    program->relocatable = header.e_type == ET_DYN;
    program->entry = header.e_entry;
    program->header_count = header.e_phnum;
    program->header_size = sizeof(Elf64_Phdr);
    bool entered = false;
    for (unsigned i = 0; i < program->segment_count; i++)
        entered |= program->entry - program->segments[i].address < program->segments[i].memory_size;
    return entered ? 0 : -ENOEXEC;
}
