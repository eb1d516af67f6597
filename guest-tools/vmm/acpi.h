// SPDX-License-Identifier: BSD-2-Clause
// The ACPI tables that tell the guest what its machine has.
#pragma once

#include <stdbool.h>

#include "memory.h"

struct acpi_machine {
    unsigned cpus, cpus_max; // vCPUs there from the start, and that may come; APIC ids 0 up
    bool serial;             // COM1
    uint32_t slots;          // of PCI, a bit each, whose devices come and go
};

// Writes RSDP, XSDT, FADT, MADT and DSDT at ACPI_ADDRESS.
void acpi_write_tables(const struct guest_memory *memory, const struct acpi_machine *machine);
