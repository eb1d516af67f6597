// SPDX-License-Identifier: BSD-2-Clause
// ACPI 6.4 chapter 5: root pointer, root table, MADT, FADT, HPET table, MCFG, SRAT, SLIT, and \_S5
// in the DSDT.
#include "arch/x86/cpu/acpi.h"
#ifdef __STDC_HOSTED__
#if __STDC_HOSTED__
#include <string.h>
#else
#include "core/string.h"
#endif
#endif

struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem[6], oem_table[8];
    uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));

enum { RSDP_1_SIZE = 20, TABLE_LIMIT = 1 << 20 };

struct reader {
    struct acpi_machine *machine;
    acpi_map_fn *map;
};

static bool checksum_good(const void *data, size_t size) {
    const uint8_t *bytes = data;
    uint8_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return sum == 0;
}

// Little-endian field at an offset of a table; 0 when the table is too short for it.
static uint64_t field(const struct acpi_header *table, size_t offset, size_t size) {
    uint64_t value = 0;
    if (size <= table->length && offset <= table->length - size)
        memcpy(&value, (const uint8_t *)table + offset, size);
    return value;
}

static const struct acpi_header *open_table(const struct reader *reader, uint64_t physical) {
    const struct acpi_header *header = physical ? reader->map(physical, sizeof *header) : NULL;
    if (!header || header->length < sizeof *header || header->length > TABLE_LIMIT)
        return NULL;
    header = reader->map(physical, header->length);
    return header && checksum_good(header, header->length) ? header : NULL;
}

enum { MADT_ENTRIES = 44, MADT_CPU = 0, MADT_IO_APIC = 1, MADT_OVERRIDE = 2, MADT_CPU_X2APIC = 9 };
enum { CPU_ENABLED = 1 };

static void add_cpu(struct acpi_machine *machine, uint32_t apic_id, uint32_t flags) {
    if ((flags & CPU_ENABLED) && machine->cpu_count < ACPI_MAX_CPUS)
        machine->cpu[machine->cpu_count++] = apic_id;
}

static void read_madt_entry(struct acpi_machine *machine, const struct acpi_header *madt,
                            size_t at) {
    switch (field(madt, at, 1)) {
    case MADT_CPU:
        add_cpu(machine, (uint32_t)field(madt, at + 3, 1), (uint32_t)field(madt, at + 4, 4));
        break;
    case MADT_CPU_X2APIC:
        add_cpu(machine, (uint32_t)field(madt, at + 4, 4), (uint32_t)field(madt, at + 8, 4));
        break;
    case MADT_IO_APIC:
        if (machine->io_apic_count < ACPI_MAX_IO_APICS)
            machine->io_apic[machine->io_apic_count++] =
                (struct acpi_io_apic){field(madt, at + 4, 4), (uint32_t)field(madt, at + 8, 4),
                                      (uint8_t)field(madt, at + 2, 1)};
        break;
    case MADT_OVERRIDE:
        if (machine->override_count < ACPI_MAX_OVERRIDES)
            machine->override[machine->override_count++] = (struct acpi_override){
                (uint8_t)field(madt, at + 3, 1), (uint32_t)field(madt, at + 4, 4),
                (uint16_t)field(madt, at + 8, 2)};
        break;
    }
}

// The entries of a MADT or SRAT: kind, length, then what `read` knows.
static void read_entries(struct reader *reader, const struct acpi_header *table, size_t at,
                         void (*read)(struct acpi_machine *machine, const struct acpi_header *table,
                                      size_t at)) {
    while (at + 2 <= table->length) {
        size_t length = field(table, at + 1, 1);
        if (length < 2 || at + length > table->length)
            return;
        read(reader->machine, table, at);
        at += length;
    }
}

static void read_madt(struct reader *reader, const struct acpi_header *madt) {
    read_entries(reader, madt, MADT_ENTRIES, read_madt_entry);
}

// The number an AML constant stands for, and the bytes it takes; 0 bytes: not a small constant
// (ACPI 20.2.3).
static size_t aml_constant(const uint8_t *code, size_t size, uint8_t *value) {
    if (size >= 1 && code[0] <= 1) { // ZeroOp, OneOp
        *value = code[0];
        return 1;
    }
    if (size >= 2 && code[0] == 0x0a) { // BytePrefix
        *value = code[1];
        return 2;
    }
    return 0;
}

// Name(_S5_, Package(){a, b, ...}) without an AML interpreter: NameOp, name, PackageOp, length,
// count, constants.
static void read_soft_off(struct acpi_machine *machine, const struct acpi_header *dsdt) {
    const uint8_t *code = (const uint8_t *)dsdt;
    for (size_t i = sizeof *dsdt; i + 8 <= dsdt->length; i++) {
        if (memcmp(code + i, "_S5_", 4) != 0 || code[i + 4] != 0x12)
            continue;
        size_t at = i + 5;
        at += 1 + (code[at] >> 6) + 1; // PkgLength (1-4 bytes), element count
        size_t taken = at < dsdt->length
                           ? aml_constant(code + at, dsdt->length - at, &machine->soft_off_a)
                           : 0;
        at += taken;
        if (!taken || at >= dsdt->length ||
            !aml_constant(code + at, dsdt->length - at, &machine->soft_off_b))
            continue;
        machine->soft_off = true;
        return;
    }
}

enum {
    FADT_DSDT = 40,
    FADT_SMI_COMMAND = 48,
    FADT_ACPI_ENABLE = 52,
    FADT_PM1A_CONTROL = 64,
    FADT_PM1B_CONTROL = 68,
    FADT_PM_TIMER = 76,
    FADT_PM_TIMER_LENGTH = 91,
    FADT_FLAGS = 112,
    FADT_RESET = 116,
    FADT_RESET_VALUE = 128,
    FADT_X_DSDT = 140,
    FLAG_TIMER_32 = 1 << 8,
    FLAG_RESET = 1 << 10,
    SPACE_MEMORY = 0,
    SPACE_IO = 1,
};

static void read_fadt(struct reader *reader, const struct acpi_header *fadt) {
    struct acpi_machine *machine = reader->machine;
    uint32_t flags = (uint32_t)field(fadt, FADT_FLAGS, 4);
    machine->smi_command = (uint16_t)field(fadt, FADT_SMI_COMMAND, 4);
    machine->acpi_enable = (uint8_t)field(fadt, FADT_ACPI_ENABLE, 1);
    machine->pm1a_control = (uint16_t)field(fadt, FADT_PM1A_CONTROL, 4);
    machine->pm1b_control = (uint16_t)field(fadt, FADT_PM1B_CONTROL, 4);
    if (field(fadt, FADT_PM_TIMER_LENGTH, 1) == 4)
        machine->pm_timer_port = (uint16_t)field(fadt, FADT_PM_TIMER, 4);
    machine->pm_timer_32 = flags & FLAG_TIMER_32;
    uint8_t space = (uint8_t)field(fadt, FADT_RESET, 1);
    if ((flags & FLAG_RESET) && (space == SPACE_IO || space == SPACE_MEMORY)) {
        machine->reset = (struct acpi_register){.in_memory = space == SPACE_MEMORY,
                                                .address = field(fadt, FADT_RESET + 4, 8)};
        machine->reset.present = machine->reset.address != 0;
        machine->reset_value = (uint8_t)field(fadt, FADT_RESET_VALUE, 1);
    }
    uint64_t dsdt_address = field(fadt, FADT_X_DSDT, 8);
    if (!dsdt_address)
        dsdt_address = field(fadt, FADT_DSDT, 4);
    const struct acpi_header *dsdt = open_table(reader, dsdt_address);
    if (dsdt)
        read_soft_off(machine, dsdt);
}

static void read_hpet(struct reader *reader, const struct acpi_header *hpet) {
    if (field(hpet, 40, 1) == SPACE_MEMORY)
        reader->machine->hpet = field(hpet, 44, 8);
}

enum { SRAT_ENTRIES = 48, SRAT_CPU = 0, SRAT_MEMORY = 1, SRAT_CPU_X2APIC = 2 };
enum { SLIT_COUNT = 36, SLIT_DISTANCES = 44 };

static void add_cpu_domain(struct acpi_machine *machine, uint64_t apic_id, uint64_t domain) {
    if (machine->cpu_domain_count == ACPI_MAX_CPUS)
        return;
    machine->cpu_domain[machine->cpu_domain_count].apic_id = (uint32_t)apic_id;
    machine->cpu_domain[machine->cpu_domain_count++].domain = (uint32_t)domain;
}

static void read_srat_entry(struct acpi_machine *machine, const struct acpi_header *srat,
                            size_t at) {
    switch (field(srat, at, 1)) {
    case SRAT_CPU:
        if (field(srat, at + 4, 4) & CPU_ENABLED)
            add_cpu_domain(machine, field(srat, at + 3, 1),
                           field(srat, at + 2, 1) | field(srat, at + 9, 3) << 8);
        break;
    case SRAT_CPU_X2APIC:
        if (field(srat, at + 12, 4) & CPU_ENABLED)
            add_cpu_domain(machine, field(srat, at + 8, 4), field(srat, at + 4, 4));
        break;
    case SRAT_MEMORY:
        if ((field(srat, at + 28, 4) & CPU_ENABLED) &&
            machine->node_range_count < ACPI_MAX_NODE_RANGES)
            machine->node_range[machine->node_range_count++] = (struct acpi_node_range){
                field(srat, at + 8, 8), field(srat, at + 16, 8), (uint32_t)field(srat, at + 2, 4)};
        break;
    }
}

static void read_srat(struct reader *reader, const struct acpi_header *srat) {
    read_entries(reader, srat, SRAT_ENTRIES, read_srat_entry);
}

static void read_slit(struct reader *reader, const struct acpi_header *slit) {
    uint64_t count = field(slit, SLIT_COUNT, 8);
    for (uint64_t i = 0; i < count && i < ACPI_MAX_DOMAINS; i++)
        for (uint64_t j = 0; j < count && j < ACPI_MAX_DOMAINS; j++)
            reader->machine->distance[i][j] =
                (uint8_t)field(slit, SLIT_DISTANCES + i * count + j, 1);
}

enum { MCFG_ENTRIES = 44, MCFG_ENTRY_SIZE = 16 }; // PCI Firmware 3.3, 4.1.2

static void read_mcfg(struct reader *reader, const struct acpi_header *mcfg) {
    for (size_t at = MCFG_ENTRIES; at + MCFG_ENTRY_SIZE <= mcfg->length; at += MCFG_ENTRY_SIZE) {
        if (field(mcfg, at + 8, 2)) // another segment
            continue;
        reader->machine->ecam = field(mcfg, at, 8);
        reader->machine->ecam_first_bus = (uint8_t)field(mcfg, at + 10, 1);
        reader->machine->ecam_last_bus = (uint8_t)field(mcfg, at + 11, 1);
        return;
    }
}

static void keep_dma_table(struct reader *reader, const struct acpi_header *table) {
    reader->machine->dma_table = table;
    reader->machine->dma_table_size = table->length;
}

static const struct {
    char signature[5];
    void (*read)(struct reader *reader, const struct acpi_header *table);
} tables[] = {{"APIC", read_madt},      {"FACP", read_fadt},     {"HPET", read_hpet},
              {"MCFG", read_mcfg},      {"SRAT", read_srat},     {"SLIT", read_slit},
              {"DMAR", keep_dma_table}, {"IVRS", keep_dma_table}};

static void read_table(struct reader *reader, uint64_t physical) {
    const struct acpi_header *table = open_table(reader, physical);
    for (size_t i = 0; table && i < sizeof tables / sizeof *tables; i++)
        if (memcmp(table->signature, tables[i].signature, 4) == 0)
            tables[i].read(reader, table);
}

static const struct acpi_header *open_root(struct reader *reader, uint64_t physical,
                                           size_t *entry_size) {
    const struct acpi_rsdp *rsdp = physical ? reader->map(physical, RSDP_1_SIZE) : NULL;
    if (!rsdp || memcmp(rsdp->signature, "RSD PTR ", 8) != 0 || !checksum_good(rsdp, RSDP_1_SIZE))
        return NULL;
    const struct acpi_header *root = NULL;
    if (rsdp->revision >= 2 && (rsdp = reader->map(physical, sizeof *rsdp))) {
        *entry_size = 8;
        root = open_table(reader, rsdp->xsdt);
        if (root && memcmp(root->signature, "XSDT", 4) == 0)
            return root;
    }
    *entry_size = 4;
    root = rsdp ? open_table(reader, rsdp->rsdt) : NULL;
    return root && memcmp(root->signature, "RSDT", 4) == 0 ? root : NULL;
}

bool acpi_read(struct acpi_machine *machine, uint64_t rsdp, acpi_map_fn *map) {
    struct reader reader = {machine, map};
    size_t entry_size = 0;
    const struct acpi_header *root = open_root(&reader, rsdp, &entry_size);
    if (!root)
        return false;
    for (size_t at = sizeof *root; at + entry_size <= root->length; at += entry_size)
        read_table(&reader, field(root, at, entry_size));
    return true;
}
