// SPDX-License-Identifier: BSD-2-Clause
// Timers: a pairing heap of deadlines a CPU, behind one hardware timer. Expiry runs in interrupt
// context: interrupts off, no lock held, bounded.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/spinlock.h"

struct cpu;

struct timer {
    uint64_t deadline;                    // ns, time_now() scale
    uint64_t slack;                       // ns it may expire before that, if an interrupt comes
    void (*expired)(struct timer *timer); // may start the timer again or free it
    _Atomic int cpu;                      // the queue it is on, -1: none
    struct spinlock lock;                 // between those who start and stop it
    _Atomic bool stopping;                // `expired` may not start it again
    struct timer *next, *child,
        *previous; // pairing heap: sibling, first child, left sibling or parent
};

void timer_init(struct timer *timer, void (*expired)(struct timer *timer));
// Arms (or moves) it on this CPU. A deadline in the past fires at once on the next interrupt
// window. Several CPUs and `expired` itself may start one timer: the last wins.
void timer_start(struct timer *timer, uint64_t deadline);
// True if it was armed. On return its `expired` is not running on another CPU unless called from
// it, nor has it armed the timer again: unless others start it, it may be freed. The caller holds
// no lock that `expired` takes.
bool timer_stop(struct timer *timer);
// Called by the timer interrupt's handler: runs what is due on this CPU and arms the hardware for
// the next.
void timer_interrupt(void);
// How often it was called on a CPU.
uint64_t timer_interrupts(const struct cpu *cpu);
// 0 or -ENOMEM. Before the CPU's first interrupt.
int timer_cpu_init(struct cpu *cpu);
