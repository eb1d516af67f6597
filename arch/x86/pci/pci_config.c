// SPDX-License-Identifier: BSD-2-Clause
// The two ways to configuration space: memory (PCI Express 5.0, 7.2.2; PCI Firmware 3.3, 4.1.2) and
// ports (PCI 3.0, 3.2.2.3.2).
#include "arch/x86/pci/pci.h"
#include "arch/x86/cpu/acpi.h"
#include "arch/x86/cpu/device_access.h"
#include "arch/x86/paging.h"
#include "core/sched/spinlock.h"

enum { CONFIG_ADDRESS = 0xcf8, CONFIG_DATA = 0xcfc, CONFIG_ENABLE = 1u << 31, BUS_SHIFT = 20 };

static struct {
    struct spinlock lock; // address and data are two accesses
    const struct acpi_machine *machine;
    volatile uint8_t *bus[256]; // ECAM of the buses that have been used
} config;

void pci_config_init(const struct acpi_machine *machine) {
    config.machine = machine;
}

// The bus in memory; NULL: not to be reached that way.
static volatile uint8_t *ecam(pci_function function) {
    unsigned bus = function >> 8;
    const struct acpi_machine *machine = config.machine;
    if (config.bus[bus] || !machine || !machine->ecam || bus < machine->ecam_first_bus ||
        bus > machine->ecam_last_bus)
        return config.bus[bus];
    // Bus 0 stands at the address whatever the first bus is.
    return config.bus[bus] =
               kernel_map_mmio(machine->ecam + ((uint64_t)bus << BUS_SHIFT), 1 << BUS_SHIFT);
}

static bool select_port(pci_function function, unsigned offset) {
    if (offset >= 256)
        return false;
    out32(CONFIG_ADDRESS, CONFIG_ENABLE | (uint32_t)function << 8 | (offset & ~3u));
    return true;
}

static uint32_t port_read(pci_function function, unsigned offset, unsigned size) {
    uint32_t value = UINT32_MAX;
    spin_lock(&config.lock);
    if (select_port(function, offset))
        value = in32(CONFIG_DATA) >> offset % 4 * 8;
    spin_unlock(&config.lock);
    return size == 4 ? value : value & ((1u << size * 8) - 1);
}

static void port_write(pci_function function, unsigned offset, unsigned size, uint32_t value) {
    spin_lock(&config.lock);
    if (select_port(function, offset))
        port_out((uint16_t)(CONFIG_DATA + offset % 4), size, value);
    spin_unlock(&config.lock);
}

unsigned pci_config_reach(pci_function function) {
    return ecam(function) ? 4096 : 256;
}

uint32_t pci_read(pci_function function, unsigned offset, unsigned size) {
    volatile uint8_t *at = config.bus[function >> 8];
    if (!at)
        return port_read(function, offset, size);
    return mmio_read(at + ((size_t)(function & 0xff) << 12 | offset), size);
}

void pci_write(pci_function function, unsigned offset, unsigned size, uint32_t value) {
    volatile uint8_t *at = config.bus[function >> 8];
    if (!at) {
        port_write(function, offset, size, value);
        return;
    }
    mmio_write(at + ((size_t)(function & 0xff) << 12 | offset), size, value);
}
