// SPDX-License-Identifier: BSD-2-Clause
// Groups of threads: a share (cpu.weight) and a limit (cpu.max) for all members together, on all
// CPUs, in a tree. A thread's weight is its group's share divided among the group's runnable
// threads, so that queues stay flat. Plain code, compiles on the build host.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/spinlock.h"

#define RUN_WEIGHT_DEFAULT     (1u << 20) // nice 0, and cpu.weight 100
#define RUN_UNLIMITED          UINT64_MAX
#define RUN_NEVER              UINT64_MAX
#define RUN_GROUP_PERIOD       100000000u // ns, cpu.max's default
#define RUN_GROUP_PERIOD_LEAST 1000000u
#define RUN_GROUP_PERIOD_MOST  1000000000u
#define RUN_GROUP_QUOTA_LEAST  1000000u

// Made zero and handed to run_group_init; the root is NULL.
struct run_group {
    struct spinlock lock;     // below a run queue's, child before parent
    struct run_group *parent; // NULL: a child of the root
    uint32_t weight;
    uint64_t active;        // sum of the weights of runnable members and child groups
    uint64_t quota, period; // ns; RUN_UNLIMITED: no limit here
    uint64_t cpus[4];       // cpuset.cpus.effective; the scheduler only reads it
    int64_t budget;         // ns left in this period; negative: taken in advance
    uint64_t period_end;    // 0: none began
    // What cpu.stat shows: ns, periods begun, periods in which members had to wait, and their
    // waits in ns.
    _Atomic uint64_t usage, throttled_time;
    uint64_t periods, throttled_periods;
    bool throttled; // in this period
};

// A group without members, weight default, no limit of its own. The parent outlives it.
void run_group_init(struct run_group *group, struct run_group *parent);
// cpu.weight: 1 to 10000, 100 is what a nice 0 thread beside the group has. 0 or -ERANGE.
int run_group_set_weight(struct run_group *group, unsigned cpu_weight);
unsigned run_group_cpu_weight(const struct run_group *group);
// cpu.max: `quota` ns (or RUN_UNLIMITED) of CPU time in `period` ns. 0 or -EINVAL. Members that run
// find out when they are next picked: scheduler_set_bandwidth sees to that.
int run_group_set_bandwidth(struct run_group *group, uint64_t quota, uint64_t period);

// For the run queue, which holds its lock. A member of `weight` became runnable or stopped to be.
void run_group_join(struct run_group *group, uint32_t weight);
void run_group_leave(struct run_group *group, uint32_t weight);
// The weight in a queue of a member of `weight`. At least 1.
uint32_t run_group_weight(struct run_group *group, uint32_t weight);
// Takes up to `wanted` ns from the group and those above. What is granted is to be used before
// *until (RUN_NEVER: no limit anywhere); when 0 is, *until is the time to ask again.
uint64_t run_group_take(struct run_group *group, uint64_t wanted, uint64_t now, uint64_t *until);
// Gives back what was taken and not used (> 0), or takes what was used beyond (< 0).
void run_group_return(struct run_group *group, int64_t ns);
// CPU time used by a member, and time it waited because of a limit.
void run_group_charge(struct run_group *group, uint64_t ns);
void run_group_charge_wait(struct run_group *group, uint64_t ns);
