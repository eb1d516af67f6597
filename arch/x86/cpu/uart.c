// SPDX-License-Identifier: BSD-2-Clause
// Registers of the serial ports. Output is polled, input comes by interrupt.
#include "arch/x86/cpu/uart.h"
#include <linux/serial_reg.h>
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/irq.h"

enum {
    SCRATCH_PATTERN = 0x5a,
    // OUT2 lets the interrupt through.
    MODEM_ON = UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT2,
    PATIENCE = 200000, // status reads before a transmitter counts as stuck
};

static struct uart {
    uint16_t base;
    uint8_t irq;
    bool present, fifo;
    struct irq_handler handler;
} uarts[UART_PORTS] = {
    [UART_COM1] = {.base = 0x3f8, .irq = 4}, [UART_COM2] = {.base = 0x2f8, .irq = 3}};

static void set(const struct uart *uart, unsigned offset, uint8_t value) {
    out8((uint16_t)(uart->base + offset), value);
}

static uint8_t get(const struct uart *uart, unsigned offset) {
    return in8((uint16_t)(uart->base + offset));
}

bool uart_init(enum uart_port port, bool fifo) {
    struct uart *uart = &uarts[port];
    set(uart, UART_SCR, SCRATCH_PATTERN);
    if (get(uart, UART_SCR) != SCRATCH_PATTERN)
        return false;
    set(uart, UART_IER, 0);
    set(uart, UART_LCR, UART_LCR_DLAB);
    set(uart, UART_DLL, 1); // 115200
    set(uart, UART_DLM, 0);
    set(uart, UART_LCR, UART_LCR_WLEN8);
    set(uart, UART_FCR,
        fifo ? UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT | UART_FCR_TRIGGER_8
             : 0);
    set(uart, UART_MCR, MODEM_ON);
    uart->fifo = fifo;
    uart->present = true;
    return true;
}

bool uart_present(enum uart_port port) {
    return uarts[port].present;
}

bool uart_can_write(enum uart_port port) {
    return !uarts[port].present || get(&uarts[port], UART_LSR) & UART_LSR_THRE;
}

static void wait_for(const struct uart *uart, uint8_t status) {
    for (unsigned i = 0; i < PATIENCE; i++)
        if (get(uart, UART_LSR) & status)
            break;
}

void uart_write(enum uart_port port, const char *text, size_t length) {
    const struct uart *uart = &uarts[port];
    size_t burst = uart->fifo ? UART_BURST : 1;
    for (size_t i = 0; uart->present && i < length; i++) {
        if (i % burst == 0)
            wait_for(uart, UART_LSR_THRE);
        set(uart, UART_TX, (uint8_t)text[i]);
    }
}

void uart_drain(enum uart_port port) {
    if (uarts[port].present)
        wait_for(&uarts[port], UART_LSR_TEMT);
}

int uart_read(enum uart_port port) {
    const struct uart *uart = &uarts[port];
    if (!uart->present || !(get(uart, UART_LSR) & UART_LSR_DR))
        return -1;
    return get(uart, UART_RX);
}

void uart_set_handler(enum uart_port port, void (*handler)(void *argument), void *argument) {
    uarts[port].handler.argument = argument;
    __atomic_store_n(&uarts[port].handler.function, handler, __ATOMIC_RELEASE);
}

void uart_input_enable(enum uart_port port, bool enable) {
    const struct uart *uart = &uarts[port];
    if (!uart->present)
        return;
    // A sender that looks at RTS stops. The edge comes by itself when a byte waits: the line rises
    // with the enable bit.
    set(uart, UART_MCR, enable ? MODEM_ON : MODEM_ON & ~UART_MCR_RTS);
    set(uart, UART_IER, enable ? UART_IER_RDI : 0);
}

static void nobody_listens(void *argument) {
}

int uart_interrupt_init(enum uart_port port) {
    struct uart *uart = &uarts[port];
    if (!uart->present)
        return 0;
    if (!uart->handler.function)
        uart->handler.function = nobody_listens;
    return irq_line_connect(uart->irq, false, &uart->handler);
}
