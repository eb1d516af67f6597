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
    IRQ_VECTOR_IOMMU = 0xf3,
    IRQ_VECTOR_ERROR = 0xfe,
    IRQ_VECTOR_SPURIOUS = 0xff,
};

// Whoever wants an interrupt owns one; lines may have several.
struct irq_handler {
    void (*function)(void *argument); // interrupts off, no lock held
    void *argument;
    struct irq_handler *_Atomic next; // irq's own
};

// Handles one external interrupt, EOI included. Called by the trap stubs and by the VM-exit path
// (acknowledge on exit), interrupts off.
void irq_dispatch(unsigned vector);
// Routes a line to this CPU and handler, unmasked. An ISA line is edge or level as the MADT says,
// else the ISA default; `level`: it is a PCI device's. 0, -ENODEV: no such line, -EINVAL: no
// vector for it, -EBUSY: its vector is used for something else.
int irq_line_connect(unsigned gsi, bool level, struct irq_handler *handler);
// The handler does not run any more on return; the last one's line is masked. No lock held.
void irq_line_disconnect(unsigned gsi, struct irq_handler *handler);
void irq_line_mask(unsigned gsi, bool masked);
bool irq_line_shared(unsigned gsi); // it has a handler
// A vector that no line uses, for messages. The vector or -ENOSPC.
int irq_vector_alloc(struct irq_handler *handler);
void irq_vector_free(unsigned vector, struct irq_handler *handler); // as irq_line_disconnect
