// SPDX-License-Identifier: BSD-2-Clause
// Kicks and calls between CPUs. A caller has one slot; a target learns from a bit per caller which
// slots want it.
#include "arch/x86/cpu/cpu_area.h"
#include <stddef.h>
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/intr/local_apic.h"
#include "arch/x86/irq.h"

enum { WORDS = CPU_MAX / 64 };

static unsigned words(void) {
    return (cpu_count() + 63) / 64;
}

void cpu_interrupt(struct cpu *cpu) {
    local_apic_send(cpu->apic_id, IRQ_VECTOR_KICK);
}

void cpu_kick(struct cpu *cpu) {
    cpu_interrupt(cpu);
    cpu_relax(); // an emulator that runs one CPU at a time goes on with the other here
}

static void serve_word(unsigned word) {
    struct cpu_area *area = cpu_area(this_cpu());
    uint64_t callers = atomic_exchange_explicit(&area->incoming[word], 0, memory_order_acquire);
    for (; callers; callers &= callers - 1) {
        struct cpu *caller = cpu_at(word * 64 + (unsigned)__builtin_ctzll(callers));
        struct call_slot *slot = &cpu_area(caller)->call;
        slot->function(slot->argument);
        atomic_fetch_sub_explicit(&slot->remaining, 1, memory_order_release);
        cpu_relax(); // as above: with the caller
    }
}

void cpu_call_serve(void) {
    struct cpu_area *area = cpu_area(this_cpu());
    for (unsigned word = 0; word < words(); word++)
        if (atomic_load_explicit(&area->incoming[word], memory_order_relaxed))
            serve_word(word);
}

static void ask(struct cpu *target) {
    unsigned self = this_cpu()->index;
    atomic_fetch_or_explicit(&cpu_area(target)->incoming[self / 64], 1ull << self % 64,
                             memory_order_release);
    local_apic_send(target->apic_id, IRQ_VECTOR_CALL);
}

static void ask_word(unsigned word, uint64_t targets, struct call_slot *slot) {
    for (; targets; targets &= targets - 1) {
        unsigned index = word * 64 + (unsigned)__builtin_ctzll(targets);
        if (index >= cpu_count())
            return;
        atomic_fetch_add_explicit(&slot->remaining, 1, memory_order_relaxed);
        ask(cpu_at(index));
    }
}

void cpu_call(const uint64_t mask[4], void (*function)(void *argument), void *argument) {
    unsigned self = this_cpu()->index;
    struct call_slot *slot = &cpu_area(this_cpu())->call;
    slot->function = function;
    slot->argument = argument;
    for (unsigned word = 0; word < words(); word++) {
        uint64_t targets = mask[word];
        if (word == self / 64)
            targets &= ~(1ull << self % 64);
        ask_word(word, targets, slot);
    }
    if (mask[self / 64] >> self % 64 & 1)
        function(argument);
    while (atomic_load_explicit(&slot->remaining, memory_order_acquire)) {
        cpu_call_serve();
        cpu_relax();
    }
}

void cpu_call_one(unsigned cpu, void (*function)(void *argument), void *argument) {
    uint64_t mask[WORDS] = {0};
    mask[cpu / 64] = 1ull << cpu % 64;
    cpu_call(mask, function, argument);
}

static void nothing(void *argument) {
}

void cpu_synchronize(void) {
    uint64_t all[WORDS] = {0};
    for (unsigned i = 0; i < cpu_count(); i++)
        all[i / 64] |= 1ull << i % 64;
    cpu_call(all, nothing, NULL);
}

void cpu_idle(void) {
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}
