// SPDX-License-Identifier: BSD-2-Clause
// What only firmware can say about the machine: ACPI root, framebuffer, CPU list.
#pragma once
#include "boot/boot_info.h"
#include <efi.h>

// Fills acpi_rsdp, efi_system_table, framebuffer, cpu_count and cpu_apic_id of *info; what is
// absent stays 0.
void machine_describe(EFI_SYSTEM_TABLE *system_table, struct boot_info *info);
