// SPDX-License-Identifier: BSD-2-Clause
// I/O APICs (Intel 82093AA data sheet) and the interrupt lines behind them.
#include "arch/x86/intr/io_apic.h"
#include <asm/errno.h>
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/acpi.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/iommu/iommu.h"
#include "arch/x86/paging.h"
#include "core/log.h"

enum {
    DEFAULT_ADDRESS = 0xfec00000,
    REGISTER_SELECT = 0,
    REGISTER_WINDOW = 4, // index of a 32-bit word
    REGISTER_EOI = 16,
    VERSION_EOI = 0x20, // has that register
    REGISTER_VERSION = 1,
    REGISTER_REDIRECTION = 0x10,
    ENTRY_LOW_ACTIVE = 1 << 13,
    ENTRY_LEVEL = 1 << 15,
    ENTRY_MASKED = 1 << 16,
    ISA_LINES = 16,
    PIC_MASTER = 0x20,
    PIC_SLAVE = 0xa0,
};

struct io_apic {
    volatile uint32_t *registers;
    uint32_t first, lines; // global interrupts it takes
    uint8_t id;            // as the MADT has it
    bool explicit_eoi;     // takes EOIs by a register
};

static struct {
    struct spinlock lock; // select and window are two accesses
    struct io_apic unit[ACPI_MAX_IO_APICS];
    unsigned count;
    const struct acpi_machine *machine;
} io_apics;

static uint32_t unit_read(struct io_apic *unit, uint32_t reg) {
    unit->registers[REGISTER_SELECT] = reg;
    return unit->registers[REGISTER_WINDOW];
}

static void unit_write(struct io_apic *unit, uint32_t reg, uint32_t value) {
    unit->registers[REGISTER_SELECT] = reg;
    unit->registers[REGISTER_WINDOW] = value;
}

static void entry_write(struct io_apic *unit, uint32_t line, uint64_t entry) {
    uint32_t reg = REGISTER_REDIRECTION + 2 * line;
    unit_write(unit, reg, ENTRY_MASKED);
    unit_write(unit, reg + 1, (uint32_t)(entry >> 32));
    unit_write(unit, reg, (uint32_t)entry);
}

// Remapped away from the exceptions' vectors, in case one fires all the same, and masked.
static void disable_8259(void) {
    const uint16_t ports[] = {PIC_MASTER, PIC_SLAVE};
    for (unsigned i = 0; i < 2; i++) {
        out8(ports[i], 0x11);
        out8(ports[i] + 1, (uint8_t)(0x20 + 8 * i));
        out8(ports[i] + 1, i ? 2 : 4);
        out8(ports[i] + 1, 1);
        out8(ports[i] + 1, 0xff);
    }
}

static void add_unit(const struct acpi_io_apic *found) {
    struct io_apic *unit = &io_apics.unit[io_apics.count];
    unit->registers = kernel_map_mmio(found->address, 4096);
    if (!unit->registers)
        panic("no memory to map the I/O APIC");
    uint32_t version = unit_read(unit, REGISTER_VERSION);
    if (version == UINT32_MAX) {
        log_line("warning: no I/O APIC at %lx", found->address);
        return;
    }
    unit->first = found->first_gsi;
    unit->id = found->id;
    unit->explicit_eoi = (version & 0xff) >= VERSION_EOI;
    unit->lines = (version >> 16 & 0xff) + 1;
    io_apics.count++;
    for (uint32_t line = 0; line < unit->lines; line++)
        entry_write(unit, line, ENTRY_MASKED);
}

void io_apic_init(const struct acpi_machine *machine) {
    disable_8259();
    io_apics.machine = machine;
    for (unsigned i = 0; i < machine->io_apic_count; i++)
        add_unit(&machine->io_apic[i]);
    if (!machine->io_apic_count)
        add_unit(&(struct acpi_io_apic){.address = DEFAULT_ADDRESS});
}

static struct io_apic *unit_of(uint32_t gsi) {
    for (unsigned i = 0; i < io_apics.count; i++)
        if (gsi - io_apics.unit[i].first < io_apics.unit[i].lines)
            return &io_apics.unit[i];
    return NULL;
}

// Where an ISA interrupt really goes, and how: MADT flags (ACPI 6.4 table 5.27), bus default edge
// and high for ISA.
static struct acpi_override line_of(uint32_t gsi) {
    for (unsigned i = 0; i < io_apics.machine->override_count; i++)
        if (io_apics.machine->override[i].source == gsi)
            return io_apics.machine->override[i];
    return (struct acpi_override){
        .source = (uint8_t)gsi, .gsi = gsi, .flags = gsi < ISA_LINES ? 0 : 0xf};
}

int irq_line_connect(unsigned gsi, bool level, struct irq_handler *handler) {
    struct acpi_override line = line_of(gsi);
    struct io_apic *unit = unit_of(line.gsi);
    if (!unit)
        return -ENODEV;
    if (level && line.flags == 0) // no override: PCI's lines are level and low (PCI 3.0, 2.2.6)
        line.flags = 0xf;
    bool shared = irq_line_used(line.gsi);
    int error = irq_line_add(line.gsi, handler);
    if (error || shared)
        return error;
    uint64_t entry = (uint64_t)this_cpu()->apic_id << 56 | (IRQ_VECTOR_LINES + line.gsi);
    entry |= (line.flags & 3) == 3 ? ENTRY_LOW_ACTIVE : 0;
    entry |= (line.flags >> 2 & 3) == 3 ? ENTRY_LEVEL : 0;
    entry = iommu_line_entry(unit->id, entry);
    spin_lock(&io_apics.lock);
    entry_write(unit, line.gsi - unit->first, entry);
    spin_unlock(&io_apics.lock);
    return 0;
}

void irq_line_disconnect(unsigned gsi, struct irq_handler *handler) {
    if (irq_line_remove(line_of(gsi).gsi, handler))
        irq_line_mask(gsi, true);
}

bool irq_line_shared(unsigned gsi) {
    return irq_line_used(line_of(gsi).gsi);
}

void irq_line_mask(unsigned gsi, bool masked) {
    struct acpi_override line = line_of(gsi);
    struct io_apic *unit = unit_of(line.gsi);
    if (!unit)
        return;
    spin_lock(&io_apics.lock);
    uint32_t reg = REGISTER_REDIRECTION + 2 * (line.gsi - unit->first);
    uint32_t low = unit_read(unit, reg) & ~(uint32_t)ENTRY_MASKED;
    unit_write(unit, reg, low | (masked ? ENTRY_MASKED : 0));
    // QEMU's AMD-Vi forgets that a line is level, so the local APIC's EOI does not reach us.
    if (!masked && unit->explicit_eoi && iommu_remaps_interrupts())
        unit->registers[REGISTER_EOI] = low & 0xff;
    spin_unlock(&io_apics.lock);
}
