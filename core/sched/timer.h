// SPDX-License-Identifier: BSD-2-Clause
// Timers: a heap of deadlines a CPU, behind one hardware timer. Expiry runs in interrupt context: interrupts off, no lock held, bounded.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct timer {
    uint64_t deadline;                     // ns, time_now() scale
    void (*expired)(struct timer *timer);
    int cpu;                               // the queue it is on, -1: none
    unsigned index;                        // place in that heap
    struct timer *next, *child, *previous; // pairing-heap links (owner's choice)
};

void timer_init(struct timer *timer, void (*expired)(struct timer *timer));
// Arms (or moves) it on this CPU. A deadline in the past fires at once on the next interrupt window.
void timer_start(struct timer *timer, uint64_t deadline);
// True if it was armed. On return its `expired` is not running on another CPU unless called from it.
bool timer_stop(struct timer *timer);
