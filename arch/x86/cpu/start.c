// SPDX-License-Identifier: BSD-2-Clause
// From the loader's jump to kernel_main.
#include "arch/x86/cpu/console.h"
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/cpu/machine.h"
#include "arch/x86/intr/clock.h"
#include "arch/x86/intr/io_apic.h"
#include "arch/x86/mm/kernel_space.h"
#include "arch/x86/paging.h"
#include "arch/x86/pci/pci.h"
#include "boot/boot_info.h"
#include "core/config.h"
#include "core/log.h"
#include "core/mm/page.h"

void kernel_main(struct boot_info *info);
void start(struct boot_info *info);

// The loader may pass the identity mapping's address.
static struct boot_info *boot_info_of(struct boot_info *info) {
    uint64_t address = (uint64_t)info;
    return address < DIRECT_MAP_BASE ? page_to_virtual(address) : info;
}

static void screen_init(const struct boot_framebuffer *framebuffer) {
    if (framebuffer->base)
        framebuffer_init(framebuffer, kernel_map_write_combining(framebuffer->base,
                                                                 (uint64_t)framebuffer->pitch *
                                                                     framebuffer->height));
}

static unsigned cpu_limit(const struct boot_info *info) {
    struct config config;
    struct config_error error;
    const char *text = page_to_virtual(info->config_physical);
    if (!info->config_size || config_parse(text, info->config_size, &config, &error))
        return CPU_MAX;
    unsigned long limit = config_number(&config, CONFIG_CPUS, CPU_MAX);
    return limit < CPU_MAX ? (unsigned)limit : CPU_MAX;
}

static void memory_init(const struct boot_info *info) {
    boot_memory_init(info);
    kernel_space_init(info);
    boot_memory_release_loader(info);
    if (!cpu_interrupt_stacks(this_cpu()))
        panic("no memory for the interrupt stacks");
}

static void devices_init(const struct boot_info *info) {
    const struct acpi_machine *machine = machine_init(info);
    cpu_set_up(this_cpu());
    pci_config_init(machine);
    iommu_init(machine);
    io_apic_init(machine);
    clock_init(machine, info->entry_tsc);
    timer_hardware_init();
    clock_read_rtc();
    console_input_init();
    other_cpus_start(machine, info, cpu_limit(info));
}

// On a stack with a guard page.
static void start_on_stack(void *argument) {
    struct boot_info *info = argument;
    devices_init(info);
    kernel_main(info);
    panic("kernel_main returned");
}

void start(struct boot_info *loader_info) {
    console_init();
    segment_load(cpu_boot_init());
    struct boot_info *info = boot_info_of(loader_info);
    if (info->magic != BOOT_INFO_MAGIC)
        panic("the loader and this kernel do not belong together: update both files on the ESP");
    cpu_features_check();
    cpu_features_patch();
    cpu_control_init();
    memory_init(info);
    screen_init(&info->framebuffer);
    uintptr_t stack = kernel_stack_alloc();
    if (!stack)
        panic("no memory for the boot CPU's stack");
    context_call_on_stack(start_on_stack, info, stack + KERNEL_STACK_SIZE);
}
