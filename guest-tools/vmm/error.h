// SPDX-License-Identifier: BSD-2-Clause
// How the monitor gives up: one line on standard error and exit status 1.
#pragma once

// Prints "vmm: " and the message with a newline, then exits with status 1 (the terminal's mode is
// restored on the way). Any thread may call it.
void fatal(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

// As fatal, with ": " and the text of errno added.
void fatal_errno(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

// Prints "vmm: " and the message with a newline and goes on; nothing where there have been a
// hundred and more than one in ten seconds.
void warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
