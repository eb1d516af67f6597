// SPDX-License-Identifier: BSD-2-Clause
// execve's reading of a program's headers: what it accepts keeps the promises of elf.h.
#include <linux/elf.h>
#include <stdlib.h>
#include <string.h>
#include "core/process/elf.h"

#define LIMIT 0x7ffffffff000ull

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct elf_program program;
    if (size < 8)
        return 0;
    uint64_t file_size;
    memcpy(&file_size, data, 8);
    size -= 8;
    file_size = size + (file_size >> (file_size & 63));
    uint8_t *headers = malloc(size ? size : 1); // of the exact size, for AddressSanitizer
    if (!headers)
        return 0;
    memcpy(headers, data + 8, size);
    if (size >= sizeof(Elf64_Ehdr) && file_size & 15) { // mostly one that is looked into
        Elf64_Ehdr *header = (Elf64_Ehdr *)headers;
        memcpy(header->e_ident, ELFMAG "\2\1\1", 7);
        header->e_machine = EM_X86_64;
        header->e_type = ET_EXEC + (header->e_type & 1);
        header->e_phentsize = sizeof(Elf64_Phdr);
        header->e_phoff = sizeof(Elf64_Ehdr);
        header->e_phnum %= 8;
        for (unsigned i = 0; i < header->e_phnum && file_size & 14; i++) {
            Elf64_Phdr *segment = (Elf64_Phdr *)(header + 1) + i;
            if ((uint8_t *)(segment + 1) > headers + size)
                break;
            segment->p_type = (segment->p_type & 7) ? PT_LOAD : PT_INTERP;
            segment->p_offset %= file_size;
            segment->p_filesz %= file_size;
            segment->p_vaddr =
                (segment->p_vaddr % (2 * LIMIT) & ~0xfffull) | (segment->p_offset & 0xfff);
        }
    }
    if (elf_parse(headers, size < ELF_HEADER_MAX ? size : ELF_HEADER_MAX, file_size, LIMIT,
                  &program) == 0) {
        REQUIRE(program.segment_count >= 1 && program.segment_count <= ELF_SEGMENTS_MAX);
        REQUIRE(program.start <= program.end && program.end <= LIMIT);
        for (unsigned i = 0; i < program.segment_count; i++) {
            const struct elf_segment *segment = &program.segments[i];
            REQUIRE(segment->file_size <= segment->memory_size);
            REQUIRE(segment->file_offset <= file_size &&
                    segment->file_size <= file_size - segment->file_offset);
            REQUIRE(segment->address >= program.start && segment->address <= program.end &&
                    segment->memory_size <= program.end - segment->address);
        }
    }
    free(headers);
    return 0;
}
