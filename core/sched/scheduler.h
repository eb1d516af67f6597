// SPDX-License-Identifier: BSD-2-Clause
// The scheduler's own entry points: CPU start, the idle loop, wake-ups with a reason, moving
// threads.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/thread.h"

struct cpu;

// Run queue, timer queue and idle thread of a CPU; the caller's context becomes the idle thread
// when it is this CPU's. Repeating it is harmless. 0 or -ENOMEM. Before the first timer or wake-up
// there.
int scheduler_cpu_init(struct cpu *cpu);
// On each further CPU after its own set-up: joins the scheduler, never returns.
_Noreturn void scheduler_cpu_start(void);
// The boot CPU's way to the same place: joins and becomes the idle thread.
_Noreturn void scheduler_idle(void);
// Wakes a WAITING thread and says why; false when it was not waiting. Any context.
bool scheduler_wake(struct thread *thread, enum wake_reason reason);
// First time on a run queue.
void scheduler_add(struct thread *thread);
void scheduler_yield(void); // sched_yield
// A running thread whose mask excludes its CPU moves at the next schedule(). -EINVAL: no CPU that
// is up.
int scheduler_set_affinity(struct thread *thread, const uint64_t mask[4]);
// The last step of every switch, called first by a new thread's entry.
void scheduler_finish_switch(void);
// Bit per CPU that takes part.
void scheduler_online(uint64_t mask[4]);
void thread_wait_expired(struct timer *timer);
