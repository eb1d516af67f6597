// SPDX-License-Identifier: BSD-2-Clause
// A program loaded into an address space that nobody runs in yet: segments and the initial stack.
#pragma once
#include <stdint.h>
#include "core/process/exec.h"

struct address_space;

struct exec_image {
    struct address_space *space;
    uint64_t entry; // where the thread starts (the interpreter's, if there is one)
    uint64_t stack_pointer;
    uint64_t program_entry, header_address, interpreter_base; // AT_ENTRY, AT_PHDR, AT_BASE
    uint64_t vdso;                                            // AT_SYSINFO_EHDR
    uint16_t header_count, header_size;
};

// Maps the program at path and its interpreter into image->space. 0 or -errno.
int exec_image_load(struct exec_image *image, const char *path);
// Makes the stack with arguments, environment and auxiliary vector. 0 or -errno.
int exec_image_stack(struct exec_image *image, const char *path,
                     const struct exec_arguments *arguments);
