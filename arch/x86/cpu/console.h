// SPDX-License-Identifier: BSD-2-Clause
// The console: COM1 both ways, the framebuffer as a second screen. console_write is declared in
// core/log.h.
#pragma once
#include <stdbool.h>

struct boot_framebuffer;

// Sets COM1 to 115200 8n1, receive FIFO off. Before it, console_write does nothing.
void console_init(void);
// Uses the framebuffer too; `pixels` is its mapping (NULL: none).
void console_framebuffer_init(const struct boot_framebuffer *framebuffer, void *pixels);
// Connects COM1's interrupt (IRQ 4). Once, after the I/O APIC is up.
void console_input_init(void);

// The next byte COM1 has received, -1: none.
int console_read_byte(void);
// Called in interrupt context whenever bytes may be waiting. Reads them with console_read_byte
// until -1.
void console_set_input_handler(void (*handler)(void));
// Off: bytes stay in the UART, which holds the sender back. On again: the handler is called at once
// if a byte waits.
void console_input_enable(bool enable);
// Waits until everything written has left the UART.
void console_drain(void);
// Takes the console away from whoever holds its lock (panic).
void console_break_lock(void);
