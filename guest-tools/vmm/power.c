// SPDX-License-Identifier: BSD-2-Clause
// Power and reset registers.
#include "power.h"

#include <misc/pvpanic.h>
#include <string.h>

#include "guest_layout.h"

// ACPI 6.4, tables 4.19 and 4.20: sleep control and status.
#define SLEEP_ENABLE     (1u << 5)
#define SLEEP_TYPE_SHIFT 2
#define SLEEP_TYPE_MASK  7u

#define RESET_CPU                (1u << 2) // reset control register, as in Intel's chipsets
#define I8042_COMMAND_PULSE_MASK 0xf0
#define I8042_RESET_LINE         (1u << 0) // pulled low where the bit is clear

static void read_zero(void *device, uint64_t offset, void *data, unsigned length) {
    (void)device, (void)offset;
    memset(data, 0, length);
}

static void ignore_write(void *device, uint64_t offset, const void *data, unsigned length) {
    (void)device, (void)offset, (void)data, (void)length;
}

static void write_sleep(void *device, uint64_t offset, const void *data, unsigned length) {
    struct power *power = device;
    uint8_t value = *(const uint8_t *)data;

    (void)length;
    if (offset == 0 && (value & SLEEP_ENABLE) &&
        (value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK) == SLEEP_TYPE_S5) {
        power->end(power->context, false);
    }
}

static void read_reset(void *device, uint64_t offset, void *data, unsigned length) {
    const struct power *power = device;

    (void)offset;
    memset(data, 0, length);
    *(uint8_t *)data = power->reset_control;
}

static void write_reset(void *device, uint64_t offset, const void *data, unsigned length) {
    struct power *power = device;

    (void)offset, (void)length;
    power->reset_control = *(const uint8_t *)data & (uint8_t)~RESET_CPU;
    if (*(const uint8_t *)data & RESET_CPU) {
        power->end(power->context, true);
    }
}

// There is no keyboard: status reads zero, so that a guest sees an idle controller, and of the
// commands only the pulse on the reset line does something.
static void write_i8042_command(void *device, uint64_t offset, const void *data, unsigned length) {
    struct power *power = device;
    uint8_t command = *(const uint8_t *)data;

    (void)offset, (void)length;
    if ((command & I8042_COMMAND_PULSE_MASK) == I8042_COMMAND_PULSE_MASK &&
        !(command & I8042_RESET_LINE)) {
        power->end(power->context, true);
    }
}

void power_write_reset_vector(const struct guest_memory *memory) {
    static const uint8_t code[] = {
        0xba,
        RESET_PORT & 0xff,
        RESET_PORT >> 8, // mov dx, RESET_PORT
        0xb0,
        RESET_VALUE, // mov al, RESET_VALUE
        0xee,        // out dx, al
        0xf4,        // hlt
        0xeb,
        0xfd, // jmp to the hlt
    };

    memory_write(memory, RESET_VECTOR, code, sizeof(code), "reset vector");
}

static void read_panic(void *device, uint64_t offset, void *data, unsigned length) {
    (void)device, (void)offset;
    memset(data, 0, length);
    *(uint8_t *)data = PVPANIC_PANICKED;
}

static void write_panic(void *device, uint64_t offset, const void *data, unsigned length) {
    struct power *power = device;

    (void)offset, (void)length;
    if (*(const uint8_t *)data & PVPANIC_PANICKED) {
        power->panicked(power->context);
    }
}

void power_attach(struct power *power, struct bus *ports) {
    static const struct bus_device_ops panic_ops = {read_panic, write_panic};
    static const struct bus_device_ops sleep_ops = {read_zero, write_sleep};
    static const struct bus_device_ops reset_ops = {read_reset, write_reset};
    static const struct bus_device_ops i8042_data_ops = {read_zero, ignore_write};
    static const struct bus_device_ops i8042_command_ops = {read_zero, write_i8042_command};

    bus_attach(ports, SLEEP_CONTROL_PORT, 2, &sleep_ops, power);
    bus_attach(ports, PANIC_PORT, 1, &panic_ops, power);
    bus_attach(ports, RESET_PORT, 1, &reset_ops, power);
    bus_attach(ports, I8042_DATA_PORT, 1, &i8042_data_ops, power);
    bus_attach(ports, I8042_COMMAND_PORT, 1, &i8042_command_ops, power);
}
