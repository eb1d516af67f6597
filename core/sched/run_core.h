// SPDX-License-Identifier: BSD-2-Clause
// Core scheduling: the hyper-threads of a core run threads of one cookie at a time, so that no VM
// shares a core with another while it runs. They take turns. Plain code.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/run_queue.h"

#define RUN_CORE_CPUS 8

struct run_core {
    struct spinlock lock; // below the queues'
    struct run_queue *queues[RUN_CORE_CPUS];
    unsigned count; // of queues
    unsigned busy;  // of its CPUs, with threads of `cookie`
    uint64_t cookie;
    uint64_t turn_end;         // when one that waits is next
    struct run_queue *waiting; // a CPU that idles because of the cookie; NULL: none
};

// A CPU belongs to a core from now on; it idles, or runs one without a cookie, and so do the
// core's others. Its queue's lock is held. False: the core is full.
bool run_core_join(struct run_core *core, struct run_queue *queue);
// Whether the queue's CPU may go on with this entity (NULL: it idles); if so it counts as busy with
// it. A `guest` only uses the turn of others while the queue waits for its own. The queue's lock is
// held; its kick_core is set where the core's other CPUs must pick again.
bool run_core_enter(struct run_queue *queue, const struct run_entity *entity, bool guest,
                    uint64_t now);
// When the CPU has to let others have their turn; RUN_NEVER: nobody waits.
uint64_t run_core_turn_end(const struct run_queue *queue);
