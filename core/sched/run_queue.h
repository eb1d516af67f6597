// SPDX-License-Identifier: BSD-2-Clause
// A CPU's run queue: weighted fair, earliest virtual deadline first among the eligible (EEVDF,
// Stoica and Abdel-Wahab 1995). Plain data structure, compiles on the build host; the caller holds
// the run queue's lock.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define RUN_WEIGHT_DEFAULT 1024     // nice 0
#define RUN_SLICE_DEFAULT  3000000u // ns

struct run_entity {
    struct run_entity *left, *right;
    uint64_t virtual_time,
        virtual_deadline; // ns scaled by RUN_WEIGHT_DEFAULT / weight; compared as differences
    uint64_t least_virtual_time; // in the subtree below and including this
    int64_t lag;       // virtual ns it was behind (> 0) or ahead of the average when it left
    uint64_t run_time; // ns on a CPU so far
    uint32_t weight;
    uint32_t slice;    // ns
    uint32_t priority; // treap's heap key
    bool counted;      // belongs to a queue: queued or running
    bool queued;       // in the tree (the running one is not)
};

struct run_queue {
    struct run_entity *root; // treap: search tree by (virtual_deadline, address), heap by priority
    uint64_t base;           // near the average virtual time
    int64_t weighted_offset; // sum of weight * (virtual_time - base) over all counted
    uint64_t weight;         // sum over all counted
    uint32_t queued, counted;
    uint32_t random;
};

void run_entity_init(struct run_entity *entity, uint32_t weight);
void run_queue_init(struct run_queue *queue);
// A runnable entity arrives: placed by its lag, with a new deadline.
void run_queue_add(struct run_queue *queue, struct run_entity *entity);
// It leaves (waits, ends, goes to another CPU), queued or running; its lag is kept for the next
// add.
void run_queue_remove(struct run_queue *queue, struct run_entity *entity);
// Takes the eligible one with the earliest deadline out of the tree to run it; NULL: none queued.
struct run_entity *run_queue_pick(struct run_queue *queue);
// The running one goes back into the tree.
void run_queue_put(struct run_queue *queue, struct run_entity *entity);
// Charges ns of CPU time to the running one. True when its slice is used up (it then has a new
// deadline).
bool run_queue_account(struct run_queue *queue, struct run_entity *entity, uint64_t ns);
// sched_yield of the running one: gives the rest of its slice away.
void run_queue_yield(struct run_queue *queue, struct run_entity *entity);
// Whether `entity` (queued) should run instead of `running`.
bool run_queue_preempts(const struct run_queue *queue, const struct run_entity *entity,
                        const struct run_entity *running);
// ns that the running one may go on before its slice is over.
uint64_t run_queue_slice_left(const struct run_entity *entity);
// The first queued entity of at most `most` looked at that `wanted` accepts, from the latest
// deadline on; NULL: none.
struct run_entity *run_queue_find(const struct run_queue *queue, unsigned most,
                                  bool (*wanted)(struct run_entity *entity, void *argument),
                                  void *argument);
