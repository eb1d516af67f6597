// SPDX-License-Identifier: BSD-2-Clause
// From a vector to its handler.
#include "arch/x86/intr/io_apic.h"
#include "arch/x86/irq.h"
#include <asm/errno.h>
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/intr/local_apic.h"
#include "arch/x86/iommu/iommu.h"
#include "core/log.h"
#include "core/sched/timer.h"

enum { VECTORS = IRQ_VECTOR_TIMER - IRQ_VECTOR_LINES };

// A vector is a line's (that of its number) or a message's; these come from the end.
static struct {
    struct spinlock lock;                          // changes
    struct irq_handler *_Atomic handlers[VECTORS]; // read without it
    uint64_t messages[VECTORS / 64];               // bit per vector that is not a line's
} vectors;

static bool is_message(unsigned index) {
    return vectors.messages[index / 64] >> index % 64 & 1;
}

// Lock held.
static void push(unsigned index, struct irq_handler *handler) {
    atomic_store(&handler->next, atomic_load(&vectors.handlers[index]));
    atomic_store(&vectors.handlers[index], handler);
}

int irq_line_add(uint32_t gsi, struct irq_handler *handler) {
    if (gsi >= VECTORS)
        return -EINVAL;
    spin_lock(&vectors.lock);
    bool taken = is_message(gsi);
    if (!taken)
        push(gsi, handler);
    spin_unlock(&vectors.lock);
    return taken ? -EBUSY : 0;
}

bool irq_line_remove(uint32_t gsi, struct irq_handler *handler) {
    spin_lock(&vectors.lock);
    struct irq_handler *_Atomic *link = &vectors.handlers[gsi];
    while (atomic_load(link) != handler)
        link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&handler->next));
    bool last = !atomic_load(&vectors.handlers[gsi]);
    spin_unlock(&vectors.lock);
    cpu_synchronize();
    return last;
}

bool irq_line_used(uint32_t gsi) {
    return gsi < VECTORS && atomic_load(&vectors.handlers[gsi]);
}

int irq_vector_alloc(struct irq_handler *handler) {
    int vector = -ENOSPC;
    spin_lock(&vectors.lock);
    for (unsigned index = VECTORS; vector < 0 && index-- > 0;) {
        if (atomic_load(&vectors.handlers[index]) || is_message(index))
            continue;
        vectors.messages[index / 64] |= 1ull << index % 64;
        push(index, handler);
        vector = (int)(IRQ_VECTOR_LINES + index);
    }
    spin_unlock(&vectors.lock);
    return vector;
}

void irq_vector_free(unsigned vector, struct irq_handler *handler) {
    unsigned index = vector - IRQ_VECTOR_LINES;
    irq_line_remove(index, handler);
    spin_lock(&vectors.lock);
    vectors.messages[index / 64] &= ~(1ull << index % 64);
    spin_unlock(&vectors.lock);
}

static void line_interrupt(unsigned vector) {
    if (vector < IRQ_VECTOR_LINES || vector >= IRQ_VECTOR_TIMER)
        return; // an 8259's spurious interrupt
    struct irq_handler *handler = atomic_load(&vectors.handlers[vector - IRQ_VECTOR_LINES]);
    for (; handler; handler = atomic_load(&handler->next))
        handler->function(handler->argument);
    local_apic_eoi();
}

void irq_dispatch(unsigned vector) {
    switch (vector) {
    case IRQ_VECTOR_TIMER:
        cpu_area(this_cpu())->timer_deadline = UINT64_MAX;
        local_apic_eoi();
        timer_interrupt();
        break;
    case IRQ_VECTOR_KICK:
        local_apic_eoi();
        break;
    case IRQ_VECTOR_CALL:
        local_apic_eoi();
        cpu_call_serve();
        break;
    case IRQ_VECTOR_IOMMU:
        local_apic_eoi();
        iommu_interrupt();
        break;
    case IRQ_VECTOR_ERROR:
        local_apic_eoi();
        log_line("warning: local APIC error on cpu %u", this_cpu()->index);
        break;
    case IRQ_VECTOR_SPURIOUS:
        break; // needs no EOI (SDM 3A 11.9)
    default:
        line_interrupt(vector);
    }
}
