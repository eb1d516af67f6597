// SPDX-License-Identifier: BSD-2-Clause
// The PC's first two serial ports, 16550s (TI PC16550D data sheet), at 115200 8n1.
#pragma once
#include <stdbool.h>
#include <stddef.h>

enum uart_port { UART_COM1, UART_COM2, UART_PORTS };

// Sets the port up; false: there is none, and the functions below do nothing. `fifo`: 16 bytes of
// buffer each way.
bool uart_init(enum uart_port port, bool fifo);
bool uart_present(enum uart_port port);
// Connects the port's interrupt. Once, after the I/O APIC is up. 0 or -errno.
int uart_interrupt_init(enum uart_port port);

// Whether the transmitter takes bytes at once: UART_BURST with FIFO, else one.
enum { UART_BURST = 16 };
bool uart_can_write(enum uart_port port);
// Waits for the transmitter. The caller lets one write at a time.
void uart_write(enum uart_port port, const char *text, size_t length);
// Waits until everything written has left.
void uart_drain(enum uart_port port);

// The next byte received, -1: none.
int uart_read(enum uart_port port);
// Called in interrupt context whenever bytes may be waiting. Reads them with uart_read until -1.
void uart_set_handler(enum uart_port port, void (*handler)(void *argument), void *argument);
// Off: bytes stay in the UART, which holds the sender back. On again: the handler is called at once
// if a byte waits.
void uart_input_enable(enum uart_port port, bool enable);
