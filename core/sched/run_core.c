// SPDX-License-Identifier: BSD-2-Clause
// Turns on a core.
#include "core/sched/run_core.h"
#include <stddef.h>

bool run_core_join(struct run_core *core, struct run_queue *queue) {
    if (core->count == RUN_CORE_CPUS)
        return false;
    spin_lock(&core->lock);
    core->queues[core->count++] = queue;
    queue->core = core;
    queue->in_core = queue->current;
    core->busy += queue->in_core;
    spin_unlock(&core->lock);
    return true;
}

bool run_core_enter(struct run_queue *queue, const struct run_entity *entity, bool guest,
                    uint64_t now) {
    struct run_core *core = queue->core;
    spin_lock(&core->lock);
    struct run_queue *waiting = core->waiting;
    unsigned others = core->busy - queue->in_core;
    bool turn_over = waiting && (guest || waiting != queue) && now >= core->turn_end;
    bool same = entity && core->busy && core->cookie == entity->cookie;
    bool free = entity && !guest && !others && (!waiting || waiting == queue);
    bool may = same ? !turn_over : free;
    if (may && !same) {
        core->cookie = entity->cookie;
        core->turn_end = now + RUN_SLICE_DEFAULT;
    }
    if (waiting == queue && !guest && (may || !entity))
        core->waiting = NULL;
    else if (!waiting && entity && !may)
        core->waiting = queue;
    core->busy = others + may;
    queue->in_core = may;
    // The turn changes, somebody begins or ends to wait, or the one that waits can have its turn.
    queue->kick_core |=
        (may && !same) || core->waiting != waiting || (!core->busy && core->waiting);
    spin_unlock(&core->lock);
    return may;
}

uint64_t run_core_turn_end(const struct run_queue *queue) {
    bool waited = __atomic_load_n(&queue->core->waiting, __ATOMIC_RELAXED);
    return waited ? queue->core->turn_end : RUN_NEVER;
}
