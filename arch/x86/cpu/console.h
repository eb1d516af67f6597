// SPDX-License-Identifier: BSD-2-Clause
// The console: COM1, the framebuffer as a second screen. console_write is declared in core/log.h;
// input is the serial port's (uart.h).
#pragma once
#include <stddef.h>
#include <stdint.h>

struct boot_framebuffer;

// Sets the serial ports up. Before it, console_write does nothing.
void console_init(void);
// Connects the serial ports' interrupts. Once, after the I/O APIC is up.
void console_input_init(void);

// Waits until everything written has left the UART.
void console_drain(void);
// Takes the console away from whoever holds its lock (panic).
void console_break_lock(void);

// -- framebuffer.c --

// From now on the log is on the framebuffer too. `pixels`: where it is mapped; NULL keeps it off.
void framebuffer_init(const struct boot_framebuffer *framebuffer, void *pixels);
// Understands CR, LF, BS and TAB; escape sequences are skipped. Caller holds the console's lock.
void framebuffer_write(const char *text, size_t length);

// -- font.c --

enum { FONT_WIDTH = 6, FONT_HEIGHT = 7 };

// A line of a glyph, 0 the highest; bit FONT_WIDTH - 1 is the leftmost pixel.
uint8_t font_line(char character, unsigned line);
