// SPDX-License-Identifier: BSD-2-Clause
// Descriptor tables: a GDT and TSS a CPU, one IDT for all.
#include "arch/x86/cpu/segment.h"
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/cpu/instruction.h"

// Of each stub in trap_entry.asm.
enum { STUB_BYTES = 16, VECTORS = 256 };

struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
_Static_assert(sizeof(struct gate) * VECTORS == IDT_BYTES, "16 bytes a gate");

struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static struct gate idt[VECTORS] __attribute__((aligned(16)));

extern char trap_stubs[];

uint64_t segment_idt_base(void) {
    return (uint64_t)idt;
}

static uint8_t gate_stack(unsigned vector) {
    switch (vector) {
    case 2:
        return 1;
    case 8:
        return 2;
    case 18:
        return 3;
    case 1:
        return 4;
    default:
        return 0;
    }
}

static void fill_idt(void) {
    for (unsigned vector = 0; vector < VECTORS; vector++) {
        uint64_t stub = (uint64_t)trap_stubs + vector * STUB_BYTES;
        bool from_user = vector == 3 || vector == 4; // INT3 and INTO
        idt[vector] = (struct gate){
            .offset_low = (uint16_t)stub,
            .selector = SEGMENT_KERNEL_CODE,
            .ist = gate_stack(vector),
            .type = from_user ? 0xee : 0x8e, // present interrupt gate
            .offset_middle = (uint16_t)(stub >> 16),
            .offset_high = (uint32_t)(stub >> 32),
        };
    }
}

static void fill_gdt(const struct cpu *cpu, struct cpu_area *area) {
    uint64_t tss = (uint64_t)&area->tss;
    area->gdt[SEGMENT_KERNEL_CODE / 8] = 0x00af9b000000ffff;
    area->gdt[SEGMENT_KERNEL_DATA / 8] = 0x00cf93000000ffff;
    area->gdt[SEGMENT_USER_DATA / 8] = 0x00cff3000000ffff;
    area->gdt[SEGMENT_USER_CODE / 8] = 0x00affb000000ffff;
    area->gdt[SEGMENT_CPU_NUMBER / 8] = 0x0000f10000000000 | cpu->index; // read-only data
    area->gdt[SEGMENT_TSS / 8] =
        (sizeof area->tss - 1) | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
    area->gdt[SEGMENT_TSS / 8 + 1] = tss >> 32;
}

void segment_load(struct cpu *cpu) {
    struct cpu_area *area = cpu_area(cpu);
    if (cpu->index == 0)
        fill_idt();
    fill_gdt(cpu, area);
    struct table_register gdt_register = {GDT_BYTES - 1, (uint64_t)area->gdt};
    struct table_register idt_register = {IDT_BYTES - 1, (uint64_t)idt};
    __asm__ volatile("lgdt %0\n\t"
                     "pushq %[code]\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "movl %[data], %%eax\n\t"
                     "movl %%eax, %%ss\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "movl %%eax, %%ds\n\t"
                     "movl %%eax, %%es\n\t"
                     "movl %%eax, %%fs\n\t"
                     "movl %%eax, %%gs\n\t"
                     "lldt %%ax\n\t"
                     "lidt %1\n\t"
                     "ltr %w[tss]"
                     :
                     : "m"(gdt_register), "m"(idt_register), [code] "i"(SEGMENT_KERNEL_CODE),
                       [data] "i"(SEGMENT_KERNEL_DATA), [tss] "r"(SEGMENT_TSS)
                     : "rax", "memory");
    write_msr(MSR_GS_BASE, (uint64_t)cpu);
    write_msr(MSR_KERNEL_GS_BASE, 0);
    write_msr(MSR_FS_BASE, 0);
    if (read_cpuid(0x80000001, 0).edx & 1u << 27)
        write_msr(MSR_TSC_AUX, cpu->index);
}
