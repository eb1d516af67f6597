// SPDX-License-Identifier: BSD-2-Clause
// Switching between threads.
#include "arch/x86/context.h"
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/paging.h"
#include "core/sched/thread.h"

// frame.inc repeats these.
_Static_assert(offsetof(struct trap_frame, rcx) == 56, "frame.inc");
_Static_assert(offsetof(struct trap_frame, vector) == 120, "frame.inc");
_Static_assert(offsetof(struct trap_frame, rip) == 136, "frame.inc");
_Static_assert(offsetof(struct trap_frame, rsp) == 160, "frame.inc");
_Static_assert(sizeof(struct trap_frame) == 176, "frame.inc");
_Static_assert(offsetof(struct cpu, kernel_stack_top) == 8, "frame.inc");
_Static_assert(offsetof(struct cpu, user_stack_pointer) == 16, "frame.inc");
_Static_assert(offsetof(struct cpu, current) == 24, "frame.inc");
_Static_assert(offsetof(struct cpu, reschedule) == 32, "frame.inc");
_Static_assert(offsetof(struct cpu, guest_msrs_loaded) == 33, "frame.inc");
_Static_assert(offsetof(struct thread, work) == 72, "frame.inc");

uint64_t context_fs_base(void) {
    uint64_t base;
    if (!cpu_features.fsgsbase)
        return read_msr(MSR_FS_BASE);
    __asm__ volatile("rdfsbase %0" : "=r"(base));
    return base;
}

static void write_fs_base(uint64_t base) {
    if (cpu_features.fsgsbase)
        __asm__ volatile("wrfsbase %0" ::"r"(base));
    else
        write_msr(MSR_FS_BASE, base);
}

uint64_t context_gs_base(void) {
    return this_cpu()->guest_msrs_loaded ? thread_current()->gs_base : read_msr(MSR_KERNEL_GS_BASE);
}

void context_set_fs_base(uint64_t base) {
    thread_current()->fs_base = base;
    write_fs_base(base);
}

void context_set_gs_base(uint64_t base) {
    thread_current()->gs_base = base;
    if (!this_cpu()->guest_msrs_loaded)
        write_msr(MSR_KERNEL_GS_BASE, base);
}

// A kernel thread has no FPU state and no user mode: its segment bases do not matter.
static void switch_user_registers(struct cpu *cpu, struct thread *from, struct thread *to) {
    if (from->fpu) {
        from->fs_base = context_fs_base();
        if (!cpu->guest_msrs_loaded)
            from->gs_base = read_msr(MSR_KERNEL_GS_BASE);
    }
    fpu_switch(from->fpu, to->fpu);
    if (to->fpu) {
        write_fs_base(to->fs_base);
        if (!cpu->guest_msrs_loaded)
            write_msr(MSR_KERNEL_GS_BASE, to->gs_base);
    }
}

void context_switch(struct thread *from, struct thread *to) {
    struct cpu *cpu = this_cpu();
    switch_user_registers(cpu, from, to);
    uintptr_t top = to->kernel_stack + KERNEL_STACK_SIZE;
    cpu->kernel_stack_top = top;
    cpu_area(cpu)->tss.rsp[0] = top;
    cpu->current = to;
    context_switch_stacks(&from->stack_pointer, to->stack_pointer);
}

void context_prepare(struct thread *thread, void (*entry)(void *argument), void *argument) {
    uintptr_t top = thread->kernel_stack + KERNEL_STACK_SIZE;
    thread->frame = (struct trap_frame *)(top - sizeof(struct trap_frame));
    uint64_t *stack = (uint64_t *)thread->frame;
    *--stack = 0;
    *--stack = 0; // two words, so that RSP is 16-byte aligned at context_start
    *--stack = (uint64_t)context_start;
    *--stack = 0;                  // rbp
    *--stack = (uint64_t)entry;    // rbx
    *--stack = (uint64_t)argument; // r12
    *--stack = 0;
    *--stack = 0;
    *--stack = 0;
    thread->stack_pointer = (uintptr_t)stack;
}

_Noreturn void context_return_to_user(void) {
    context_return_to_frame(thread_current()->frame);
}
