// SPDX-License-Identifier: BSD-2-Clause
// execve: a program file becomes the current process.
#pragma once
#include <stdint.h>

struct exec_arguments;

// The argument and environment strings of an exec, in kernel memory.
struct exec_arguments {
    char *strings; // all, one after the other, each with its NUL
    uint32_t size; // bytes used
    uint32_t argc, envc;
};

// Replaces the current process's program; on success the thread's frame is the new program's start.
// arguments NULL: argv is the path alone, the environment empty. 0 or -errno, the old program then
// untouched; after the point of no return an error ends the process.
int exec_program(const char *path, const struct exec_arguments *arguments);
