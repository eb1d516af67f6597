// SPDX-License-Identifier: BSD-2-Clause
// The machine as ACPI describes it: NUMA nodes, turning it off and on again.
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/machine.h"
#include "arch/x86/cpu/console.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/mm/kernel_space.h"
#include "arch/x86/paging.h"
#include "boot/boot_info.h"
#include "core/log.h"
#include "core/mm/numa.h"
#include "core/mm/page.h"

enum {
    PM1_SCI_ENABLE = 1,
    PM1_SLEEP_ENABLE = 1 << 13,
    PM1_SLEEP_TYPE_SHIFT = 10,
    RESET_CONTROL = 0xcf9,
    KEYBOARD_COMMAND = 0x64,
    BOCHS_SHUTDOWN = 0x8900,
    PATIENCE = 1000000,
};

static struct acpi_machine machine;

static void nodes_init(void) {
    for (unsigned i = 0; i < machine.node_range_count; i++)
        numa_add_memory(machine.node_range[i].domain, machine.node_range[i].base,
                        machine.node_range[i].size);
    for (unsigned i = 0; i < ACPI_MAX_DOMAINS * ACPI_MAX_DOMAINS; i++)
        numa_set_distance(i / ACPI_MAX_DOMAINS, i % ACPI_MAX_DOMAINS,
                          machine.distance[i / ACPI_MAX_DOMAINS][i % ACPI_MAX_DOMAINS]);
    if (numa_nodes() > 1)
        page_sort_nodes();
}

unsigned machine_node_of_cpu(uint32_t apic_id) {
    for (unsigned i = 0; i < machine.cpu_domain_count; i++)
        if (machine.cpu_domain[i].apic_id == apic_id && machine.cpu_domain[i].domain < NUMA_NODES)
            return machine.cpu_domain[i].domain;
    return 0;
}

const struct acpi_machine *machine_init(const struct boot_info *info) {
    if (info->acpi_rsdp && !acpi_read(&machine, info->acpi_rsdp, kernel_space_physical))
        log_line("warning: the ACPI tables are damaged; going on without");
    nodes_init();
    return &machine;
}

static void acpi_mode(void) {
    if (!machine.smi_command || (in16(machine.pm1a_control) & PM1_SCI_ENABLE))
        return;
    out8(machine.smi_command, machine.acpi_enable);
    for (unsigned i = 0; i < PATIENCE && !(in16(machine.pm1a_control) & PM1_SCI_ENABLE); i++)
        cpu_relax();
}

static void acpi_soft_off(void) {
    if (!machine.soft_off || !machine.pm1a_control)
        return;
    acpi_mode();
    uint16_t keep = in16(machine.pm1a_control) & ~(7 << PM1_SLEEP_TYPE_SHIFT);
    out16(machine.pm1a_control,
          (uint16_t)(keep | machine.soft_off_a << PM1_SLEEP_TYPE_SHIFT | PM1_SLEEP_ENABLE));
    if (machine.pm1b_control)
        out16(machine.pm1b_control,
              (uint16_t)(machine.soft_off_b << PM1_SLEEP_TYPE_SHIFT | PM1_SLEEP_ENABLE));
    for (unsigned i = 0; i < PATIENCE; i++)
        cpu_relax();
}

_Noreturn void machine_power_off(void) {
    console_drain();
    acpi_soft_off();
    // Bochs has no ACPI tables under OVMF, but ends at this word; elsewhere nothing listens there.
    for (const char *word = "Shutdown"; *word; word++)
        out8(BOCHS_SHUTDOWN, (uint8_t)*word);
    log_line("The machine does not turn itself off: it is safe to switch it off now.");
    for (;;)
        __asm__ volatile("cli; hlt");
}

static void acpi_reset(void) {
    if (!machine.reset.present)
        return;
    if (!machine.reset.in_memory) {
        out8((uint16_t)machine.reset.address, machine.reset_value);
    } else {
        volatile uint8_t *reg = kernel_map_mmio(machine.reset.address, 1);
        if (reg)
            *reg = machine.reset_value;
    }
    for (unsigned i = 0; i < PATIENCE; i++)
        cpu_relax();
}

// By everything that resets some machine, the mildest first; a triple fault is the last.
_Noreturn void machine_reset(void) {
    console_drain();
    acpi_reset();
    out8(RESET_CONTROL, 0x02);
    out8(RESET_CONTROL, 0x06);
    for (unsigned i = 0; i < PATIENCE; i++)
        cpu_relax();
    out8(KEYBOARD_COMMAND, 0xfe);
    for (unsigned i = 0; i < PATIENCE; i++)
        cpu_relax();
    struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) nothing = {0, 0};
    __asm__ volatile("lidt %0; int3" ::"m"(nothing));
    for (;;)
        __asm__ volatile("cli; hlt");
}
