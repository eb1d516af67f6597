// SPDX-License-Identifier: BSD-2-Clause
// Turning the machine off and on again.
#include "arch/x86/cpu/machine.h"
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/console.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/mm/kernel_space.h"
#include "arch/x86/paging.h"
#include "boot/boot_info.h"
#include "core/log.h"

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

const struct acpi_machine *machine_init(const struct boot_info *info) {
    if (info->acpi_rsdp && !acpi_read(&machine, info->acpi_rsdp, kernel_space_physical))
        log_line("warning: the ACPI tables are damaged; going on without");
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
