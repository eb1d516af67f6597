// SPDX-License-Identifier: BSD-2-Clause
// The console: COM1, the framebuffer as a second screen. console_write is declared in core/log.h;
// input is the serial port's (uart.h).
#pragma once
#include <stdbool.h>

struct boot_framebuffer;

// Sets the serial ports up. Before it, console_write does nothing.
void console_init(void);
// Uses the framebuffer too; `pixels` is its mapping (NULL: none).
void console_framebuffer_init(const struct boot_framebuffer *framebuffer, void *pixels);
// Connects the serial ports' interrupts. Once, after the I/O APIC is up.
void console_input_init(void);

// Waits until everything written has left the UART.
void console_drain(void);
// Takes the console away from whoever holds its lock (panic).
void console_break_lock(void);
