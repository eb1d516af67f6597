// SPDX-License-Identifier: BSD-2-Clause
// The table of CPUs and their areas.
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/mm/kernel_space.h"
#include "core/mm/heap.h"

enum { INTERRUPT_STACK_SIZE = 8192, INTERRUPT_STACKS = 4, EARLY_STACK_SIZE = 4096 };

static struct cpu boot_cpu;
static struct cpu_area boot_area;
static char early_stack[EARLY_STACK_SIZE] __attribute__((aligned(16)));
static struct cpu *cpus[CPU_MAX];
static unsigned count;

unsigned cpu_count(void) {
    return count;
}

// CPUID leaf 0BH (SDM vol. 2, CPUID).
unsigned cpu_thread_bits(void) {
    enum { TOPOLOGY = 0xb, LEVEL_SMT = 1 };
    if (read_cpuid(0, 0).eax < TOPOLOGY)
        return 0;
    struct cpuid_regs level = read_cpuid(TOPOLOGY, 0);
    return (level.ecx >> 8 & 0xff) == LEVEL_SMT ? level.eax & 0x1f : 0;
}

struct cpu *cpu_at(unsigned index) {
    return cpus[index];
}

// The last 16 bytes of an interrupt stack say whose it is: the paranoid entry reads it.
static uint64_t stack_top(struct cpu *cpu, uintptr_t stack, uint64_t size) {
    uint64_t top = stack + size - 16;
    *(struct cpu **)top = cpu;
    return top;
}

static void area_init(struct cpu *cpu, struct cpu_area *area) {
    cpu->self = cpu;
    cpu->arch = area;
    area->tss.io_map = sizeof area->tss;
    area->timer_deadline = UINT64_MAX;
}

struct cpu *cpu_boot_init(void) {
    area_init(&boot_cpu, &boot_area);
    for (unsigned i = 0; i < INTERRUPT_STACKS; i++)
        boot_area.tss.ist[i] = stack_top(&boot_cpu, (uintptr_t)early_stack, EARLY_STACK_SIZE);
    cpu_register(&boot_cpu);
    return &boot_cpu;
}

bool cpu_interrupt_stacks(struct cpu *cpu) {
    for (unsigned i = 0; i < INTERRUPT_STACKS; i++) {
        uintptr_t stack = kernel_guarded_alloc(INTERRUPT_STACK_SIZE);
        if (!stack)
            return false;
        cpu_area(cpu)->tss.ist[i] = stack_top(cpu, stack, INTERRUPT_STACK_SIZE);
    }
    return true;
}

struct cpu *cpu_create(uint32_t apic_id) {
    struct cpu *cpu = heap_new(struct cpu);
    struct cpu_area *area = heap_new(struct cpu_area);
    if (cpu && area) {
        area_init(cpu, area);
        cpu->apic_id = apic_id;
        if (cpu_interrupt_stacks(cpu))
            return cpu;
    }
    heap_free(cpu);
    heap_free(area);
    return NULL;
}

void cpu_register(struct cpu *cpu) {
    cpu->index = count;
    cpus[count] = cpu;
    __atomic_store_n(&count, count + 1, __ATOMIC_RELEASE);
}

void cpu_unregister(struct cpu *cpu) {
    __atomic_store_n(&count, cpu->index, __ATOMIC_RELEASE);
}
