// SPDX-License-Identifier: BSD-2-Clause
// CPUs: the per-CPU area (GS base), kicks and calls between CPUs, time, user-mode MSRs.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/run_queue.h"

#define CPU_MAX 256

struct thread;
struct timer_queue;

struct cpu {
    struct cpu *self;             // %gs:0
    uintptr_t kernel_stack_top;   // %gs:8, RSP of SYSCALL entry
    uintptr_t user_stack_pointer; // %gs:16, scratch of SYSCALL entry
    struct thread *current;       // %gs:24
    _Atomic bool reschedule;      // schedule() before user or guest
    bool guest_msrs_loaded; // SYSCALL MSRs hold a guest's values: virt restores them before user
                            // mode
    unsigned index;
    uint32_t apic_id;
    unsigned node; // NUMA
    struct thread *idle;
    struct run_queue *run_queue; // core/sched
    struct timer_queue *timers;  // core/sched
    struct address_space *space; // loaded in CR3
    void *control_block;         // the back end's that is current
    void *loaded_vcpu;           // whose lazily switched state is loaded
    void *arch;                  // arch/x86/cpu's own: GDT, TSS, stacks, call slots
};

// volatile: a thread may go on on another CPU after schedule().
static inline struct cpu *this_cpu(void) {
    struct cpu *cpu;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

unsigned cpu_count(void); // CPUs that are up
struct cpu *cpu_at(unsigned index);
// How many low bits of apic_id number the hyper-threads of a core; 0: a core is a CPU.
unsigned cpu_thread_bits(void);

// Interrupts another CPU out of user, guest or idle so that it looks at its reschedule flag and its
// thread's work. No wait.
void cpu_interrupt(struct cpu *cpu);
// The same, and an emulator that runs one CPU at a time goes on with the other: not for a sender
// that holds a lock or whose time has begun.
void cpu_kick(struct cpu *cpu);
// Runs function(argument) on every CPU of the mask (bit per CPU, this one included if set) with
// interrupts off; returns when all have. Serves calls of others while it waits. No lock held.
void cpu_call(const uint64_t mask[4], void (*function)(void *argument), void *argument);
// Returns when every CPU has been between two pieces of kernel work: what was taken out of tables
// that are read without locks is no longer in use, and no interrupt handler runs that began before.
void cpu_synchronize(void);
void cpu_call_one(unsigned cpu, void (*function)(void *argument), void *argument);
// Sleeps until an interrupt, with interrupts on for just that (STI; HLT; CLI).
void cpu_idle(void);

// ns since the kernel's entry, monotonic, the same on all CPUs.
uint64_t time_now(void);
uint64_t time_tsc_khz(void);
uint64_t time_to_tsc(uint64_t ns);
// time_now() is (TSC - *start) * *ns_a_tick >> 32.
void time_parameters(uint64_t *start, uint64_t *ns_a_tick);
uint64_t time_realtime_offset(void); // ns to add to time_now() for the Unix epoch (RTC at boot)
// One-shot timer of this CPU: calls timer_interrupt() (core/sched) at or after the deadline.
// TIME_NEVER: off.
void cpu_timer_set(uint64_t deadline);

_Noreturn void machine_power_off(void);
_Noreturn void machine_reset(void);
