// SPDX-License-Identifier: BSD-2-Clause
// What arch/x86 keeps for each CPU beyond struct cpu.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/segment.h"

struct acpi_machine;
struct boot_info;
struct trap_frame;

// A call to other CPUs, owned by the CPU that makes it (cpu_call.c).
struct call_slot {
    void (*function)(void *argument);
    void *argument;
    atomic_uint remaining;
};

struct cpu_area {
    uint64_t gdt[GDT_BYTES / 8] __attribute__((aligned(16)));
    struct tss tss;
    struct call_slot call;
    _Atomic uint64_t incoming[CPU_MAX / 64]; // CPUs whose call_slot wants this CPU
    uint64_t timer_deadline;                 // ns, what the hardware timer is set to
    _Atomic bool up;
};

static inline struct cpu_area *cpu_area(const struct cpu *cpu) {
    return cpu->arch;
}

// The boot CPU's static area, usable before there is memory.
struct cpu *cpu_boot_init(void);
// A further CPU's area with its interrupt stacks; NULL: no memory. Not yet counted by cpu_count().
struct cpu *cpu_create(uint32_t apic_id);
// Gives this CPU's traps stacks of their own (guarded). False: no memory.
bool cpu_interrupt_stacks(struct cpu *cpu);
// Makes it visible as the next index.
void cpu_register(struct cpu *cpu);
// Takes the newest one back: it did not start.
void cpu_unregister(struct cpu *cpu);

// -- cpu_call.c --

// Runs what other CPUs want of this one. Interrupt context, or while waiting.
void cpu_call_serve(void);

// -- fpu.c --

// Enables the features and sets XCR0 on this CPU; the first call decides for all.
void fpu_cpu_init(void);

// -- trap_entry.asm: switching between threads --

void context_switch_stacks(uintptr_t *save, uintptr_t load);
void context_start(void); // first address of a new thread
_Noreturn void context_return_to_frame(struct trap_frame *frame);
_Noreturn void context_call_on_stack(void (*function)(void *argument), void *argument,
                                     uintptr_t stack_top);

// -- other_cpus.c --

// Starts at most limit - 1 further CPUs from the MADT's list, else the loader's; each ends in
// scheduler_cpu_start().
void other_cpus_start(const struct acpi_machine *machine, const struct boot_info *info,
                      unsigned limit);
// What every CPU sets up for itself, the boot CPU too: features, APIC, timer, FPU.
void cpu_set_up(struct cpu *cpu);
