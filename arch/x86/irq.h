// SPDX-License-Identifier: BSD-2-Clause
// Interrupts: vectors and their handlers, I/O APIC lines.
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum irq_vector {
    IRQ_VECTOR_LINES = 0x30, // I/O APIC lines from here
    IRQ_VECTOR_TIMER = 0xf0,
    IRQ_VECTOR_KICK = 0xf1,
    IRQ_VECTOR_CALL = 0xf2,
    IRQ_VECTOR_ERROR = 0xfe,
    IRQ_VECTOR_SPURIOUS = 0xff,
};

// Handles one external interrupt, EOI included. Called by the trap stubs and by the VM-exit path
// (acknowledge on exit), interrupts off.
void irq_dispatch(unsigned vector);
// Routes ISA/global line `gsi` (edge or level as MADT says, else ISA defaults) to this CPU and
// handler; unmasked. 0 or -errno.
int irq_line_connect(unsigned gsi, void (*handler)(void *argument), void *argument);
void irq_line_mask(unsigned gsi, bool masked);
