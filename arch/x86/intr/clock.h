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
