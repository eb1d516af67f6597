// SPDX-License-Identifier: BSD-2-Clause
// The kernel's own log: COM1 and the framebuffer, write only; and panic.
#pragma once
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

// printf formats understood: %d %i %u %x %X %o %c %s %p %% with l, ll, z, h, width, 0, -, precision
// for %s. log_line adds the newline; one call is one uninterrupted line, from any CPU.
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
int format_string(char *out, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int format_string_v(char *out, size_t size, const char *format, va_list arguments);

// Prints "panic: ..." with place, registers and a backtrace of return addresses, stops every CPU.
// For broken invariants only.
_Noreturn void panic_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define panic(...)        panic_at(__FILE__, __LINE__, __VA_ARGS__)
#define ASSERT(condition) ((condition) ? (void)0 : panic("assertion failed: %s", #condition))

// Console back ends (COM1, framebuffer) used by the log and by the console file; owner:
// arch/x86/cpu/console.c.
void console_write(const char *text, size_t length);
