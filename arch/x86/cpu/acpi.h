// SPDX-License-Identifier: BSD-2-Clause
// What the kernel wants from ACPI: CPUs, interrupt routing, clocks, power. Parsing is pure: tables
// are reached through a function, every length is checked, and the unit tests feed it broken ones.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ACPI_MAX_CPUS = 256,
    ACPI_MAX_IO_APICS = 16,
    ACPI_MAX_OVERRIDES = 24,
    ACPI_MAX_NODE_RANGES = 64,
    ACPI_MAX_DOMAINS = 16, // proximity domains
};

struct acpi_node_range { // memory of a proximity domain
    uint64_t base, size;
    uint32_t domain;
};

struct acpi_io_apic {
    uint64_t address;
    uint32_t first_gsi;
    uint8_t id;
};

struct acpi_override { // an ISA interrupt that is not on the line of its number
    uint8_t source;
    uint32_t gsi;
    uint16_t flags; // MPS INTI: polarity in bits 1:0, trigger in 3:2
};

struct acpi_register { // a register in port or memory space
    bool present, in_memory;
    uint64_t address;
};

struct acpi_machine {
    uint32_t cpu[ACPI_MAX_CPUS]; // local APIC IDs of enabled CPUs, in the MADT's order
    unsigned cpu_count;
    struct acpi_io_apic io_apic[ACPI_MAX_IO_APICS];
    unsigned io_apic_count;
    struct acpi_override override[ACPI_MAX_OVERRIDES];
    unsigned override_count;
    struct acpi_node_range node_range[ACPI_MAX_NODE_RANGES];
    unsigned node_range_count;
    struct {
        uint32_t apic_id, domain;
    } cpu_domain[ACPI_MAX_CPUS];
    unsigned cpu_domain_count;
    uint8_t distance[ACPI_MAX_DOMAINS][ACPI_MAX_DOMAINS]; // 0: not told
    uint64_t hpet;                                        // physical address; 0: none
    uint64_t ecam; // of bus 0 of PCI segment 0, physical; 0: none
    uint8_t ecam_first_bus, ecam_last_bus;
    uint16_t pm_timer_port;              // 0: none
    bool pm_timer_32;                    // counts 32 bits, not 24
    uint16_t pm1a_control, pm1b_control; // ports; 0: none
    uint16_t smi_command;
    uint8_t acpi_enable;
    bool soft_off; // \_S5 found: these go to SLP_TYP
    uint8_t soft_off_a, soft_off_b;
    const void *dma_table; // DMAR or IVRS (arch/x86/iommu/dma_table.h); NULL: no IOMMU
    size_t dma_table_size;
    struct acpi_register reset;
    uint8_t reset_value;
};

// Memory at a physical address for `size` bytes; NULL: cannot be reached.
typedef const void *acpi_map_fn(uint64_t physical, size_t size);

// Fills *machine with what the tables below the RSDP say; what is missing or damaged is left out.
// False: no usable root.
bool acpi_read(struct acpi_machine *machine, uint64_t rsdp, acpi_map_fn *map);
