// SPDX-License-Identifier: BSD-2-Clause
// Clocks whose rate is known: HPET, ACPI PM timer, PIT.
#pragma once
#include <stdint.h>

struct acpi_machine;

struct clock_reference {
    const char *name;
    uint64_t femtoseconds; // a tick
    uint64_t mask;         // of its counter
    void (*start)(void);
    uint64_t (*read)(void); // counts up
};

// The best one this machine has.
struct clock_reference clock_reference_find(const struct acpi_machine *machine);
