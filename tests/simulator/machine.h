// SPDX-License-Identifier: BSD-2-Clause
// A machine of simulated CPUs and threads that runs the kernel's own run queues, with the events of
// core/sched/scheduler.c: wake-ups, kicks, timers, ends of bursts.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/run_domain.h"

#define US 1000ull // in ns
#define MS 1000000ull
#define S  1000000000ull

struct actor {
    struct run_entity entity;
    // It works for about `work` ns, then sleeps for about `sleep` ns; RUN_NEVER: a hog.
    uint64_t work, sleep;
    bool random;        // bursts and sleeps are up to twice as long, or as short as nothing
    bool yields;        // it yields instead of sleeping
    struct actor *peer; // woken at the end of each burst; it sleeps until woken
    uint64_t left;      // of this burst
    bool asleep;
    unsigned running;             // CPUs it is on: 0 or 1
    unsigned ran_on;              // the last of them
    uint64_t delay_before;        // its run_delay when it last got a CPU
    uint64_t waits, longest_wait; // times it waited for a CPU; ns
    uint64_t moves;               // times it came to another CPU
};

struct machine {
    unsigned cpus, actors;
    struct actor *actor;
    uint64_t now;
    // What was counted.
    uint64_t decisions, timers, useless_timers, kicks, idle, switches;
    uint64_t steps;        // of the policy: tree nodes and CPUs looked at
    uint64_t host_ns;      // in the policy
    uint64_t widest;       // largest weight of a queue seen
    const char *violation; // the first invariant that did not hold; NULL: none
};

extern struct machine machine;
extern struct run_domain domain;

// 32 random bits, the same ones on each run.
uint32_t machine_random(void);
// A machine at time 0 with actors that are hogs of the default policy, not started.
void machine_make(unsigned cpus, unsigned actors);
// The same with cores of `threads` CPUs and so many NUMA nodes.
void machine_make_of(unsigned cpus, unsigned actors, unsigned threads, unsigned nodes);
// CPUs 0 and 1, 2 and 3 ... are hyper-threads that only threads of one cookie share.
void machine_pair_cores(void);
void machine_start_actor(struct actor *actor, unsigned cpu); // created by a thread on that CPU
void machine_start(void);                                    // all, created on random CPUs
void machine_run(uint64_t until);                            // until that time, if all goes well
void machine_wake(struct actor *actor, unsigned from_cpu);
// CPU time of an actor, or of a group, until now.
uint64_t machine_time(struct actor *actor);
uint64_t machine_group_time(const struct run_group *group);
// ns that all CPUs idled.
uint64_t machine_idle(void);
