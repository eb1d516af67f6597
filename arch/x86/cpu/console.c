// SPDX-License-Identifier: BSD-2-Clause
// COM1 (a 16550, TI PC16550D data sheet) and, for output, the framebuffer.
#include "arch/x86/cpu/console.h"
#include "arch/x86/cpu/framebuffer.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/irq.h"
#include "core/log.h"
#include "core/sched/spinlock.h"

enum {
    COM1 = 0x3f8,
    COM1_IRQ = 4,
    DATA = COM1,                 // RBR, THR; divisor low with DLAB
    INTERRUPT_ENABLE = COM1 + 1, // divisor high with DLAB
    FIFO_CONTROL = COM1 + 2,
    LINE_CONTROL = COM1 + 3,
    MODEM_CONTROL = COM1 + 4,
    LINE_STATUS = COM1 + 5,
    SCRATCH = COM1 + 7,

    LINE_8N1 = 0x03,
    LINE_DLAB = 0x80,
    MODEM_DTR_RTS_OUT2 = 0x0b, // OUT2 lets the interrupt through
    STATUS_DATA_READY = 0x01,
    STATUS_TRANSMIT_EMPTY = 0x20,
    STATUS_ALL_SENT = 0x40,
    ENABLE_RECEIVE = 0x01,
    TRANSMIT_PATIENCE = 200000, // status reads before a transmitter counts as stuck
};

static struct {
    struct spinlock lock;
    bool serial;
    void (*handler)(void);
} console;

void console_init(void) {
    out8(SCRATCH, 0x5a);
    if (in8(SCRATCH) != 0x5a)
        return;
    out8(INTERRUPT_ENABLE, 0);
    out8(LINE_CONTROL, LINE_DLAB);
    out8(DATA, 1); // 115200
    out8(INTERRUPT_ENABLE, 0);
    out8(LINE_CONTROL, LINE_8N1);
    // Without the FIFO a UART that has a byte waiting takes no other: emulators hold the sender
    // back then, and nothing is lost however long the byte waits.
    out8(FIFO_CONTROL, 0);
    out8(MODEM_CONTROL, MODEM_DTR_RTS_OUT2);
    console.serial = true;
}

static void serial_wait(uint8_t status) {
    for (unsigned i = 0; i < TRANSMIT_PATIENCE; i++)
        if (in8(LINE_STATUS) & status)
            break;
}

static void serial_put(char character) {
    serial_wait(STATUS_TRANSMIT_EMPTY);
    out8(DATA, (uint8_t)character);
}

void console_write(const char *text, size_t length) {
    spin_lock(&console.lock);
    if (console.serial)
        for (size_t i = 0; i < length; i++)
            serial_put(text[i]);
    framebuffer_write(text, length);
    spin_unlock(&console.lock);
}

void console_drain(void) {
    spin_lock(&console.lock);
    if (console.serial)
        serial_wait(STATUS_ALL_SENT);
    spin_unlock(&console.lock);
}

void console_break_lock(void) {
    console.lock = (struct spinlock){0};
}

void console_framebuffer_init(const struct boot_framebuffer *framebuffer, void *pixels) {
    framebuffer_init(framebuffer, pixels);
}

int console_read_byte(void) {
    if (!console.serial || !(in8(LINE_STATUS) & STATUS_DATA_READY))
        return -1;
    return in8(DATA);
}

void console_set_input_handler(void (*handler)(void)) {
    console.handler = handler;
}

void console_input_enable(bool enable) {
    if (!console.serial)
        return;
    // The edge comes by itself when a byte waits: the line rises with the enable bit.
    out8(INTERRUPT_ENABLE, enable ? ENABLE_RECEIVE : 0);
}

static void serial_interrupt(void *argument) {
    (void)argument;
    if (console.handler)
        console.handler();
}

void console_input_init(void) {
    if (console.serial && irq_line_connect(COM1_IRQ, serial_interrupt, NULL))
        log_line("console: no interrupt for COM1, input is off");
}
