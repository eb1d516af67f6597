// SPDX-License-Identifier: BSD-2-Clause
// Reference clocks.
#include "arch/x86/intr/clock.h"
#include "arch/x86/cpu/acpi.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/paging.h"

// IA-PC HPET 1.0a, 2.3.
enum { HPET_CAPABILITIES = 0, HPET_CONFIGURATION = 0x10, HPET_COUNTER = 0xf0, HPET_ENABLE = 1 };
#define HPET_PERIOD_MOST 100000000ull // femtoseconds

static volatile uint8_t *hpet;
static uint16_t pm_timer_port;

static uint64_t hpet_register(unsigned offset) {
    return *(volatile uint64_t *)(hpet + offset);
}

static void hpet_start(void) {
    *(volatile uint64_t *)(hpet + HPET_CONFIGURATION) =
        hpet_register(HPET_CONFIGURATION) | HPET_ENABLE;
}

static uint64_t hpet_read(void) {
    return *(volatile uint32_t *)(hpet + HPET_COUNTER);
}

static void no_start(void) {
}

static uint64_t pm_timer_read(void) {
    return in32(pm_timer_port);
}

// Counter 2 of the 8254, whose gate is in software's hands; counts down from 0xffff in mode 0: 55
// ms.
enum { PIT_COUNTER_2 = 0x42, PIT_CONTROL = 0x43, PORT_B = 0x61, GATE_2 = 1, SPEAKER = 2 };

static void pit_start(void) {
    out8(PORT_B, (uint8_t)((in8(PORT_B) & ~SPEAKER) | GATE_2));
    out8(PIT_CONTROL, 0xb0); // counter 2, low and high byte, mode 0
    out8(PIT_COUNTER_2, 0xff);
    out8(PIT_COUNTER_2, 0xff);
}

static uint64_t pit_read(void) {
    out8(PIT_CONTROL, 0x80); // latch counter 2
    uint8_t low = in8(PIT_COUNTER_2);
    return 0xffffu - (low | (unsigned)in8(PIT_COUNTER_2) << 8);
}

struct clock_reference clock_reference_find(const struct acpi_machine *machine) {
    if (machine->hpet && (hpet = kernel_map_mmio(machine->hpet, 1024))) {
        uint64_t period = hpet_register(HPET_CAPABILITIES) >> 32;
        if (period && period <= HPET_PERIOD_MOST)
            return (struct clock_reference){"HPET", period, UINT32_MAX, hpet_start, hpet_read};
    }
    if (machine->pm_timer_port) {
        pm_timer_port = machine->pm_timer_port;
        // 3.579545 MHz (ACPI 4.8.2.1)
        return (struct clock_reference){"PM timer", 279365115,
                                        machine->pm_timer_32 ? UINT32_MAX : 0xffffff, no_start,
                                        pm_timer_read};
    }
    return (struct clock_reference){"PIT", 838095345, 0xffff, pit_start, pit_read};
}
