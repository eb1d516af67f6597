// SPDX-License-Identifier: BSD-2-Clause
// Handlers of I/O APIC lines.
#pragma once
#include <stdint.h>

// 0, -EINVAL: no vector for this line, -EBUSY: taken.
int irq_line_set(uint32_t gsi, void (*handler)(void *argument), void *argument);
