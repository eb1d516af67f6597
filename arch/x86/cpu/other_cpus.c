// SPDX-License-Identifier: BSD-2-Clause
// INIT-SIPI-SIPI (SDM 3A 9.4.4), one CPU after the other, through the trampoline of
// start_entry.asm.
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/cpu/machine.h"
#include "arch/x86/intr/clock.h"
#include "arch/x86/intr/local_apic.h"
#include "arch/x86/mm/kernel_space.h"
#include "arch/x86/mm/page_walker.h"
#include "boot/boot_info.h"
#include "core/log.h"
#include "core/mm/page.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

enum {
    MICROSECOND = 1000,
    INIT_DELAY = 10000 * MICROSECOND,
    SIPI_DELAY = 200 * MICROSECOND,
    START_PATIENCE = 200000 * MICROSECOND,
    IDENTITY_SIZE = 2 << 20,
};

extern char ap_trampoline[], ap_trampoline_end[];

struct trampoline_data { // at the end of the trampoline's page
    uint32_t cr3, reserved;
    uint64_t stack;
    struct cpu *cpu;
    void (*entry)(struct cpu *cpu);
};

static struct trampoline_data *trampoline_data(uint64_t page) {
    return (struct trampoline_data *)((char *)page_to_virtual(page) + PAGE_SIZE -
                                      sizeof(struct trampoline_data));
}
_Static_assert(sizeof(struct trampoline_data) == 0x20, "start_entry.asm");

void ap_start(struct cpu *cpu);

void cpu_set_up(struct cpu *cpu) {
    cpu_control_init();
    fpu_cpu_init();
    local_apic_init();
    cpu->apic_id = local_apic_id();
    cpu->node = machine_node_of_cpu(cpu->apic_id);
    cpu_area(cpu)->gdt[SEGMENT_CPU_NUMBER / 8] |= (uint64_t)cpu->node << 12;
}

// First C code on another CPU: interrupts off, on its own stack, trampoline's page table.
void ap_start(struct cpu *cpu) {
    page_table_load(PHYSICAL_NONE);
    segment_load(cpu);
    cpu_set_up(cpu);
    timer_hardware_init();
    cpu->space = NULL;
    atomic_store_explicit(&cpu_area(cpu)->up, true, memory_order_release);
    tsc_check_answer();
    scheduler_cpu_start();
}

// A page table below 4 GiB that 32-bit code can name: the first 2 MiB as they are, and the kernel.
// Three pages from `pages`.
static void build_tables(uint64_t pages) {
    uint64_t *top = page_to_virtual(pages), *second = page_to_virtual(pages + PAGE_SIZE);
    uint64_t *third = page_to_virtual(pages + 2 * PAGE_SIZE);
    memset(top, 0, 3 * PAGE_SIZE);
    memcpy(top + 256, (uint64_t *)page_to_virtual(kernel_space_root()) + 256, PAGE_SIZE / 2);
    top[0] = (pages + PAGE_SIZE) | host_format.table_bits;
    second[0] = (pages + 2 * PAGE_SIZE) | host_format.table_bits;
    third[0] = host_format.read | host_format.write | host_format.large;
}

static bool wait_until_up(const struct cpu *cpu, uint64_t patience) {
    uint64_t end = time_now() + patience;
    while (!atomic_load_explicit(&cpu_area(cpu)->up, memory_order_acquire)) {
        if (time_now() >= end)
            return false;
        cpu_relax();
    }
    return true;
}

// Time is read from whatever CPU a thread is on, and guests move between them too.
static void check_tsc(const struct cpu *cpu) {
    int64_t ahead = tsc_check_ask();
    if (ahead)
        log_line("warning: the TSC of the CPU with APIC ID %u is %lu ticks %s; time will jump when "
                 "threads move (a firmware update may help)",
                 cpu->apic_id, (unsigned long)(ahead > 0 ? ahead : -ahead),
                 ahead > 0 ? "ahead" : "behind");
}

static void start_one(uint64_t page, uint32_t apic_id) {
    uintptr_t stack = kernel_stack_alloc();
    struct cpu *cpu = stack ? cpu_create(apic_id) : NULL;
    if (!cpu) {
        log_line("warning: no memory for the CPU with APIC ID %u; going on without it", apic_id);
        return;
    }
    struct trampoline_data *data = trampoline_data(page);
    data->cr3 = (uint32_t)(page + PAGE_SIZE);
    data->stack = stack + KERNEL_STACK_SIZE;
    data->cpu = cpu;
    cpu_register(cpu);
    data->entry = ap_start;
    local_apic_send_startup(apic_id, (unsigned)(page >> PAGE_SHIFT));
    bool up = wait_until_up(cpu, SIPI_DELAY);
    if (!up) {
        local_apic_send_startup(apic_id, (unsigned)(page >> PAGE_SHIFT));
        up = wait_until_up(cpu, START_PATIENCE);
    }
    if (up) {
        check_tsc(cpu);
        return;
    }
    local_apic_send_init(apic_id); // so that it cannot come late
    cpu_unregister(cpu);
    log_line("warning: the CPU with APIC ID %u did not start; going on without it", apic_id);
}

struct id_list {
    const uint32_t *id;
    unsigned count;
};

static struct id_list list_cpus(const struct acpi_machine *machine, const struct boot_info *info) {
    if (machine->cpu_count)
        return (struct id_list){machine->cpu, machine->cpu_count};
    return (struct id_list){info->cpu_apic_id, info->cpu_count};
}

static bool startable(uint32_t apic_id) {
    return apic_id != this_cpu()->apic_id && (local_apic_is_x2apic() || apic_id < 255);
}

void other_cpus_start(const struct acpi_machine *machine, const struct boot_info *info,
                      unsigned limit) {
    struct id_list list = list_cpus(machine, info);
    uint64_t page = boot_memory_low_pages();
    if (limit < 2 || list.count < 2)
        return;
    if (!page) {
        log_line("warning: no free page below 1 MiB, so only one CPU can be used");
        return;
    }
    memcpy(page_to_virtual(page), ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
    build_tables(page + PAGE_SIZE);
    unsigned asked = 1;
    for (unsigned i = 0; i < list.count && asked < limit && asked < CPU_MAX; i++)
        if (startable(list.id[i])) {
            local_apic_send_init(list.id[i]);
            asked++;
        }
    clock_delay(INIT_DELAY);
    for (unsigned i = 0, started = 1; i < list.count && started < asked; i++)
        if (startable(list.id[i])) {
            start_one(page, list.id[i]);
            started++;
        }
    boot_memory_release_low_pages();
}
