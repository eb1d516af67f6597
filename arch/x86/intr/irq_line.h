// SPDX-License-Identifier: BSD-2-Clause
// Handlers of I/O APIC lines.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct irq_handler;

// 0, -EINVAL: no vector for this line, -EBUSY: its vector is a message's.
int irq_line_add(uint32_t gsi, struct irq_handler *handler);
// Whether that was the last. The handler does not run any more on return; no lock held.
bool irq_line_remove(uint32_t gsi, struct irq_handler *handler);
bool irq_line_used(uint32_t gsi);
