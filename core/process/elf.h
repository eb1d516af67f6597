// SPDX-License-Identifier: BSD-2-Clause
// ELF64 programs: what the headers of an executable say, checked. Plain code, tested on the build
// host.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ELF_SEGMENTS_MAX 32
#define ELF_HEADER_MAX   4096u // file header and program headers lie within this many bytes

struct elf_segment { // a PT_LOAD
    uint64_t address, file_offset, file_size, memory_size;
    bool read, write, execute;
};

struct elf_program {
    bool relocatable; // ET_DYN: addresses are relative to a base of the loader's choice
    uint64_t entry;
    uint64_t header_address; // of the program headers in memory (AT_PHDR); 0: not loaded
    uint16_t header_count, header_size;
    uint64_t start, end; // of all segments, page aligned
    uint64_t interpreter_offset,
        interpreter_size; // PT_INTERP in the file, NUL included; size 0: none
    unsigned segment_count;
    struct elf_segment segments[ELF_SEGMENTS_MAX];
};

// Reads the first `size` bytes of a file of `file_size` bytes. `limit`: user addresses end there. 0
// or -ENOEXEC.
int elf_parse(const void *data, size_t size, uint64_t file_size, uint64_t limit,
              struct elf_program *program);
