// SPDX-License-Identifier: BSD-2-Clause
// A CPU's run queue. Above all the reservations (SCHED_DEADLINE) by deadline, then fixed
// priorities (SCHED_FIFO, SCHED_RR), then the rest weighted fair: earliest virtual deadline first
// among the eligible (EEVDF, Stoica and Abdel-Wahab 1995). Plain data structure, compiles on the
// build host; the caller holds the queue's lock where nothing else is said.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/run_group.h"
#include "core/sched/run_policy.h"
#include "core/sched/run_tree.h"
#include "core/sched/spinlock.h"

#ifndef RUN_CPUS
#define RUN_CPUS 256 // the simulator has more
#endif
#define RUN_CPU_WORDS     (RUN_CPUS / 64)
#define RUN_SLICE_DEFAULT 3000000u // ns
#define RUN_WEIGHT_IDLE   3072u    // SCHED_IDLE

enum run_place { RUN_NOWHERE, RUN_CURRENT, RUN_QUEUED, RUN_PARKED };

struct run_entity {
    struct run_node node; // key: of the fair the virtual deadline, of the urgent the deadline or
                          // the priority, of the parked when to release it
    struct run_policy policy;
    struct run_group *group; // NULL: the root
    uint32_t own_weight;     // by nice
    uint32_t weight;         // in the queue: own_weight, or the share that the group has for it
    uint32_t slice;          // ns
    uint64_t virtual_time;   // ns * RUN_WEIGHT_DEFAULT / weight; compared as differences
    uint64_t virtual_deadline;
    int64_t lag;       // virtual ns it was behind (> 0) or ahead of the average when it left
    uint64_t left_at;  // what base + shift was then
    uint32_t request;  // ns it asks for at once
    uint64_t burst;    // ns on a CPU since it last slept
    int64_t budget;    // ns: left of a reservation, of a round-robin slice, of what its group gave
    uint64_t refill;   // when the budget is void (the group's) or full again (a reservation's)
    uint64_t deadline; // of a reservation, absolute
    uint64_t parked_since;           // by its group's limit
    uint64_t run_time;               // ns on a CPU so far
    uint64_t ready_since;            // when it last became ready to run; 0: it is not, or runs
    uint64_t run_delay;              // ns it was ready in all: what a guest is told as stolen
    bool guest;                      // it runs a vCPU
    uint64_t cookie;                 // core scheduling: only equal cookies share a core
    uint64_t allowed[RUN_CPU_WORDS]; // bit per CPU
    _Atomic unsigned cpu; // of the queue it is or was in last; changes under that queue's lock
    uint8_t place;        // enum run_place
};

struct run_queue {
    struct spinlock lock;
    unsigned cpu;
    struct run_node *fair, *urgent, *parked;
    struct run_entity *current; // NULL: idle
    struct run_entity *next;    // queued, preferred when the current one leaves; NULL: none
    uint64_t base;              // the average virtual time of the fair ones
    uint64_t shift;             // base + shift is comparable between queues
    int64_t weighted_offset;    // sum of weight * (virtual_time - base), less than `weight`
    uint64_t weight;            // sum over the fair ones, queued or current
    uint32_t queued, counted;   // queued, all kinds; fair ones, queued or current
    uint64_t sequence;          // order of equal priorities
    uint64_t accounted;         // until when `current` has been charged
    uint64_t guest_time;        // ns of those that run vCPUs, so far
    uint64_t urgent_begin;      // of the period in which the urgent have run `urgent_time` ns
    uint64_t urgent_time;
    uint32_t reserved;     // of 2^20: by reservations admitted here
    struct run_core *core; // NULL: it shares its core with any
    bool in_core;          // counted among the busy of its core
    bool held;             // idles, with threads queued, because others have the core
    bool kick_core;        // the core's other CPUs must pick again: for the caller to do
};

// ns in each period that the urgent may run on a CPU on which fair ones wait:
// sched_rt_{period,runtime}_us. RUN_UNLIMITED: no limit.
extern uint64_t run_urgent_period, run_urgent_runtime;

// Nowhere, SCHED_NORMAL, nice 0, all CPUs, the root group.
void run_entity_init(struct run_entity *entity);
// Takes a checked policy; for an entity that is nowhere.
void run_entity_set_policy(struct run_entity *entity, const struct run_policy *policy);
void run_queue_init(struct run_queue *queue, unsigned cpu);

// A runnable entity that is nowhere arrives: placed by its lag, with a new deadline. True: the CPU
// must reschedule (now) for it, or to look at its next event anew.
bool run_queue_add(struct run_queue *queue, struct run_entity *entity, uint64_t now);
// The entity, if it is queued here, is to run as soon as the current one leaves or has used up its
// slice and it is eligible.
void run_queue_prefer(struct run_queue *queue, struct run_entity *entity);
// It leaves (waits, ends, goes to another CPU), wherever it is in this queue; its lag is kept for
// the next add. The current one was charged before.
void run_queue_remove(struct run_queue *queue, struct run_entity *entity, uint64_t now);
// Policy and group of an entity that is nowhere or in this queue; it stays where it is. The CPU
// must reschedule.
void run_queue_change(struct run_queue *queue, struct run_entity *entity,
                      const struct run_policy *policy, struct run_group *group, uint64_t now);
// Charges the current one for its time until now.
void run_queue_charge(struct run_queue *queue, uint64_t now);
// Charges, puts the current one back if it is still there, and makes the best one current. NULL:
// the CPU is to idle.
struct run_entity *run_queue_pick(struct run_queue *queue, uint64_t now);
// The fair entity with the least virtual time of the first `looks` by deadline, or an urgent one,
// that may run on `cpu`; NULL: none.
struct run_entity *run_queue_candidate(const struct run_queue *queue, unsigned cpu, unsigned looks);
// Moves a queued entity; both locks held. Its virtual time goes with it, within a bound of the new
// average. As run_queue_add.
bool run_queue_move(struct run_queue *from, struct run_queue *to, struct run_entity *entity,
                    uint64_t now);
// An empty queue takes over the other's place in virtual time.
void run_queue_follow(struct run_queue *queue, const struct run_queue *other);
// Virtual ns that `queue` has served its own less than `other` has (< 0: more).
int64_t run_queue_behind(const struct run_queue *queue, const struct run_queue *other);
// When to pick again if nothing happens before: a slice, a budget or a park ends. RUN_NEVER: no
// timer is needed.
uint64_t run_queue_next_event(struct run_queue *queue);
// sched_yield of the current one: the rest of its slice counts as used; a fixed priority goes
// behind its equals; a reservation waits for its next period.
void run_queue_yield(struct run_queue *queue, uint64_t now);
