// SPDX-License-Identifier: BSD-2-Clause
// Firmware's ACPI tables with any content; checksums are made right, or nothing would be read.
#include <stdlib.h>
#include <string.h>
#include "arch/x86/cpu/acpi.h"
#include "arch/x86/iommu/dma_table.h"

#define RSDP   16u
#define MEMORY 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// One mapping of the exact size at a time would show a read past it; all of them are kept.
static uint8_t memory[MEMORY];
static void *mapped[4096];
static unsigned mapped_count;

static const void *map(uint64_t physical, size_t size) {
    if (physical >= MEMORY || size > MEMORY - physical || mapped_count == 4096)
        return NULL;
    void *copy = malloc(size ? size : 1);
    if (!copy)
        return NULL;
    memcpy(copy, memory + physical, size);
    mapped[mapped_count++] = copy;
    return copy;
}

static void fix_sum(size_t at, size_t size, size_t sum_at) {
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + memory[at + i]);
    memory[sum_at] = (uint8_t)(memory[sum_at] - sum);
}

static uint8_t pci(uint16_t id, unsigned offset) {
    return (uint8_t)(id * 7 + offset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"XSDT", "RSDT", "APIC", "FACP", "HPET", "SRAT",
                                        "SLIT", "DSDT", "MCFG", "DMAR", "IVRS"};
    static struct acpi_machine machine;
    static struct dma_table table;

    // A table a record: its name, its length, then its bytes. They lie 256 bytes apart.
    memset(memory, 0, sizeof memory);
    memcpy(memory + RSDP, "RSD PTR ", 8);
    memory[RSDP + 15] = 2;
    memory[RSDP + 17] = 1;
    memory[RSDP + 20] = 36;
    memory[RSDP + 25] = 1;
    for (size_t at = 256; at < MEMORY && size >= 2; at += 256) {
        size_t length = data[1] < size - 2 ? data[1] : size - 2;
        memcpy(memory + at + 8, data + 2, length < 248 ? length : 248);
        memcpy(memory + at, names[data[0] % 11], 4);
        memory[at + 4] = data[1] < 8 ? 8 : data[1];
        data += 2 + length;
        size -= 2 + length;
        fix_sum(at, memory[at + 4], at + 9);
    }
    fix_sum(RSDP, 20, RSDP + 8);
    fix_sum(RSDP, 36, RSDP + 32);
    machine.dma_table = NULL;
    acpi_read(&machine, RSDP, map);
    if (machine.dma_table)
        dma_table_read(&table, machine.dma_table, machine.dma_table_size, pci);
    if (machine.cpu_count > ACPI_MAX_CPUS || machine.io_apic_count > ACPI_MAX_IO_APICS ||
        machine.override_count > ACPI_MAX_OVERRIDES ||
        machine.node_range_count > ACPI_MAX_NODE_RANGES ||
        machine.cpu_domain_count > ACPI_MAX_CPUS || table.units > DMA_TABLE_UNITS ||
        table.scopes > DMA_TABLE_SCOPES)
        abort();
    while (mapped_count)
        free(mapped[--mapped_count]);
    return 0;
}
