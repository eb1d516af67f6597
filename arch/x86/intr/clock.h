// SPDX-License-Identifier: BSD-2-Clause
// The TSC as the kernel's clock, measured against a clock of known rate; the hardware timer.
#pragma once
#include <stdint.h>

struct acpi_machine;

// Starts time at `entry_tsc` and measures the TSC (and the local APIC's timer where it has no
// deadline mode). Boot CPU.
void clock_init(const struct acpi_machine *machine, uint64_t entry_tsc);
const char *clock_reference(void); // what the TSC was measured against
void clock_delay(uint64_t ns);     // busy
// Reads the real-time clock.
void clock_read_rtc(void);
// This CPU's timer, off.
void timer_hardware_init(void);

// -- clock_reference.c --

struct clock_reference {
    const char *name;
    uint64_t femtoseconds; // a tick
    uint64_t mask;         // of its counter
    void (*start)(void);
    uint64_t (*read)(void); // counts up
};

// The best one this machine has.
struct clock_reference clock_reference_find(const struct acpi_machine *machine);

// -- tsc_check.c --

// On the boot CPU, while the other one is in tsc_check_answer: how many ticks the other one's TSC
// is certainly ahead (negative: behind). 0: no difference that the way between the CPUs would not
// hide.
int64_t tsc_check_ask(void);
void tsc_check_answer(void);
