// SPDX-License-Identifier: BSD-2-Clause
// The loader's messages: firmware console, and COM1 where the firmware's console does not already
// go there.
#include "boot/console.h"
#include <stdbool.h>
#include "core/log.h"

#define COM1 0x3f8
#define COM1_SPIN_LIMIT                                                                            \
    100000 // status reads to wait for the transmitter; a missing UART must not hang the loader

static EFI_SYSTEM_TABLE *system_table;
static bool firmware_console;
static bool serial_direct;
static CHAR16 pending[128]; // for the firmware's console, which is slow a call, not a character
static unsigned pending_count;

static void port_write(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static uint8_t port_read(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void serial_start(void) {
    port_write(COM1 + 1, 0x00); // no interrupts
    port_write(COM1 + 3, 0x80); // divisor latch
    port_write(COM1 + 0, 0x01); // 115200 baud
    port_write(COM1 + 1, 0x00);
    port_write(COM1 + 3, 0x03);                  // 8N1
    port_write(COM1 + 2, 0x07);                  // FIFOs on and empty
    port_write(COM1 + 4, 0x03);                  // DTR, RTS
    serial_direct = port_read(COM1 + 5) != 0xff; // nothing there: the bus floats
}

static void serial_put(char c) {
    for (unsigned spins = 0; spins < COM1_SPIN_LIMIT; spins++) {
        if (port_read(COM1 + 5) & 0x20)
            break;
    }
    port_write(COM1, (uint8_t)c);
}

// Whether the firmware's console includes a UART: UEFI 2.10 section 3.3 (ConOut), 10.3.4.15 (UART
// device path).
static bool firmware_console_is_serial(void) {
    static EFI_GUID global_variable = EFI_GLOBAL_VARIABLE;
    static uint8_t path[2048];
    UINTN size = sizeof(path);
    if (EFI_ERROR(system_table->RuntimeServices->GetVariable(L"ConOut", &global_variable, NULL,
                                                             &size, path)))
        return false;
    for (UINTN at = 0; at + 4 <= size;) {
        UINTN length = path[at + 2] | (UINTN)path[at + 3] << 8;
        if (path[at] == 0x03 && path[at + 1] == 0x0e)
            return true;
        if (length < 4)
            break;
        at += length;
    }
    return false;
}

void console_start(EFI_SYSTEM_TABLE *table) {
    system_table = table;
    firmware_console = table->ConOut != NULL;
    if (!firmware_console || !firmware_console_is_serial())
        serial_start();
}

static void flush(void) {
    pending[pending_count] = 0;
    if (firmware_console && pending_count > 0)
        system_table->ConOut->OutputString(system_table->ConOut, pending);
    pending_count = 0;
}

void console_leave_firmware(void) {
    firmware_console = false;
    if (!serial_direct)
        serial_start();
}

static void put(char c) {
    if (c == '\n')
        put('\r');
    if (pending_count == sizeof(pending) / sizeof(pending[0]) - 1)
        flush();
    pending[pending_count++] = (CHAR16)(unsigned char)c;
    if (serial_direct)
        serial_put(c);
}

// Config text and file names may hold anything; the console gets printable characters only.
void console_print(const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    format_string_v(text, sizeof(text), format, arguments);
    va_end(arguments);
    for (const char *at = text; *at != '\0'; at++)
        put((*at >= 0x20 && *at < 0x7f) || *at == '\n' ? *at : '?');
    flush();
}
