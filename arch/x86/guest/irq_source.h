// SPDX-License-Identifier: BSD-2-Clause
// Who holds an interrupt line: a controller's input is the OR over the sources, so that user
// space's KVM_IRQ_LINE, resampling irqfds and the PIT do not lower each other's level.
#pragma once

enum irq_source {
    IRQ_SOURCE_USER = 0,     // KVM_IRQ_LINE, irqfd without resample
    IRQ_SOURCE_RESAMPLE = 1, // irqfds with resample
    IRQ_SOURCE_PIT = 2,
    IRQ_SOURCE_COUNT = 3,
};
