// SPDX-License-Identifier: BSD-2-Clause
// From a vector to its handler.
#include "arch/x86/irq.h"
#include <asm/errno.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/cpu_area.h"
#include "arch/x86/cpu/cpu_call.h"
#include "arch/x86/intr/irq_line.h"
#include "arch/x86/intr/local_apic.h"
#include "core/log.h"
#include "core/sched/timer.h"

enum { LINES = IRQ_VECTOR_TIMER - IRQ_VECTOR_LINES };

static struct line {
    void (*handler)(void *argument);
    void *argument;
} lines[LINES];

int irq_line_set(uint32_t gsi, void (*handler)(void *argument), void *argument) {
    if (gsi >= LINES)
        return -EINVAL;
    if (lines[gsi].handler)
        return -EBUSY;
    lines[gsi] = (struct line){handler, argument};
    return 0;
}

static void line_interrupt(unsigned vector) {
    if (vector < IRQ_VECTOR_LINES || vector >= IRQ_VECTOR_TIMER)
        return; // an 8259's spurious interrupt
    struct line *line = &lines[vector - IRQ_VECTOR_LINES];
    if (line->handler)
        line->handler(line->argument);
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
