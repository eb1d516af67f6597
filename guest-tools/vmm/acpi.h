// SPDX-License-Identifier: BSD-2-Clause
// The ACPI tables that tell the guest what its machine has.
#pragma once

#include <stdbool.h>

#include "memory.h"

// Writes RSDP, XSDT, FADT, MADT and DSDT at ACPI_ADDRESS for a machine of cpus vCPUs (APIC ids 0
// up) and, where serial is set, COM1.
void acpi_write_tables(const struct guest_memory *memory, unsigned cpus, bool serial);
