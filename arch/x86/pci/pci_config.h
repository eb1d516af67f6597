// SPDX-License-Identifier: BSD-2-Clause
// PCI configuration space of segment 0.
#pragma once
#include <stdint.h>

struct acpi_machine;

// A function of a device: bus << 8 | device << 3 | function, its requester ID too.
typedef uint16_t pci_function;

// Finds ECAM where the MCFG tells it; else, and before, the ports CF8 and CFC serve. Boot CPU.
void pci_config_init(const struct acpi_machine *machine);
// Bytes of configuration space that can be reached: 256 or 4096.
unsigned pci_config_reach(pci_function function);
// size: 1, 2 or 4; offset: a multiple of it. All ones where nothing answers. Any context.
uint32_t pci_read(pci_function function, unsigned offset, unsigned size);
void pci_write(pci_function function, unsigned offset, unsigned size, uint32_t value);
