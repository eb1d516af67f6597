// SPDX-License-Identifier: BSD-2-Clause
// The scheduler's own entry points: CPU start, the idle loop, wake-ups with a reason, moving
// threads.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/thread.h"

struct cpu;
struct run_policy;
struct run_group;

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

// The controls. thread->entity.policy and .group show what holds; change them by these alone.
// What sched_setattr(2) sets. 0, -EINVAL, or -EBUSY: a reservation that cannot be kept.
int scheduler_set_policy(struct thread *thread, const struct run_policy *policy);
// Moves it to a group (NULL: the root), with that group's `cpus`. The caller keeps the group alive
// while a thread has it. 0, or -EBUSY: a reservation whose CPU is not in the group.
int scheduler_set_group(struct thread *thread, struct run_group *group);
// cpu.max as run_group_set_bandwidth takes it; members notice at once. 0 or -EINVAL.
int scheduler_set_bandwidth(struct run_group *group, uint64_t quota, uint64_t period);
// After group->cpus has changed: for each member.
int scheduler_update_cpus(struct thread *thread);
// Lets a thread that waits for a CPU run next on its CPU, in place of the current one if that is
// this one: the caller goes on to schedule(). False: it waits for something else or runs already.
bool scheduler_yield_to(struct thread *thread);
// Brings what groups have used up to now: a thread alone on its CPU is charged only when it stops.
void scheduler_charge(void);
// Core scheduling: the hyper-threads of a core run threads of one cookie at a time; 0, which all
// have at first, is one as well. A new one, from the first on of effect.
uint64_t scheduler_new_cookie(void);
// A running thread whose core is another cookie's leaves it at the next schedule().
void scheduler_set_cookie(struct thread *thread, uint64_t cookie);
// Each process, so each VM, gets a cookie of its own. Before the first thread. 0 or -ENOMEM.
int scheduler_separate_processes(void);
// What a child of the current thread gets.
uint64_t scheduler_child_cookie(bool new_process);
// What CPU `cpu` has done so far.
struct scheduler_counts {
    uint64_t switches;
    uint64_t idle;  // ns
    uint64_t guest; // ns of threads that run vCPUs
};
void scheduler_counts(unsigned cpu, struct scheduler_counts *counts);
void thread_wait_expired(struct timer *timer);
