// SPDX-License-Identifier: BSD-2-Clause
// The kernel's own output: COM1 and the framebuffer.
#include "arch/x86/cpu/console.h"
#include "arch/x86/cpu/uart.h"
#include "core/log.h"
#include "core/sched/spinlock.h"

static struct spinlock console_lock;

void console_init(void) {
    // Without the FIFO a UART that has a byte waiting takes no other: emulators hold the sender
    // back then, and nothing is lost however long the byte waits.
    uart_init(UART_COM1, false);
    uart_init(UART_COM2, true);
}

void console_write(const char *text, size_t length) {
    spin_lock(&console_lock);
    uart_write(UART_COM1, text, length);
    framebuffer_write(text, length);
    spin_unlock(&console_lock);
}

void console_drain(void) {
    spin_lock(&console_lock);
    uart_drain(UART_COM1);
    spin_unlock(&console_lock);
}

void console_break_lock(void) {
    console_lock = (struct spinlock){0};
}

void console_input_init(void) {
    for (enum uart_port port = 0; port < UART_PORTS; port++)
        if (uart_interrupt_init(port))
            log_line("console: no interrupt for COM%u, input is off", port + 1);
}
