// SPDX-License-Identifier: BSD-2-Clause
// Virtual time: the average of a queue, and each one's place before or behind it.
#include "core/sched/run_fair.h"

#define LAG_SLICES  3            // bound on the lag that an entity keeps when it leaves
#define CHARGE_MOST (1ull << 40) // ns; charged at once to virtual time, against overflow

static int64_t scaled(uint64_t ns, uint32_t weight) {
    return (int64_t)(ns * RUN_WEIGHT_DEFAULT / weight);
}

// What it asks for at once: as much as its bursts took lately, at most a slice. Whoever asks for
// less is served sooner, and gets no more for it.
void run_fair_set_deadline(struct run_entity *entity) {
    entity->virtual_deadline =
        entity->virtual_time + (uint64_t)scaled(entity->request, entity->weight);
}

uint64_t run_fair_clock(const struct run_queue *queue) {
    return queue->base + queue->shift;
}

// Moves `base` to the average again.
static void rebase(struct run_queue *queue) {
    if (!queue->weight) {
        queue->weighted_offset = 0;
        return;
    }
    int64_t step = queue->weighted_offset / (int64_t)queue->weight;
    queue->base += (uint64_t)step;
    queue->weighted_offset -= step * (int64_t)queue->weight;
}

void run_fair_advance(struct run_queue *queue, struct run_entity *entity, int64_t virtual_ns) {
    entity->virtual_time += (uint64_t)virtual_ns;
    queue->weighted_offset += virtual_ns * entity->weight;
    rebase(queue);
}

void run_fair_charge(struct run_queue *queue, struct run_entity *entity, uint64_t ns) {
    run_fair_advance(queue, entity, scaled(ns < CHARGE_MOST ? ns : CHARGE_MOST, entity->weight));
}

static void count(struct run_queue *queue, struct run_entity *entity, bool in) {
    int64_t weighted = (int64_t)(entity->virtual_time - queue->base) * entity->weight;
    queue->weight += in ? entity->weight : -(uint64_t)entity->weight;
    queue->weighted_offset += in ? weighted : -weighted;
    queue->counted += in ? 1u : -1u;
    rebase(queue);
}

// Without dividing.
bool run_fair_eligible(const struct run_queue *queue, uint64_t virtual_time) {
    return (__int128)queue->weighted_offset >=
           (__int128)(int64_t)(virtual_time - queue->base) * (__int128)queue->weight;
}

int64_t run_fair_bounded_lag(const struct run_entity *entity, int64_t lag) {
    int64_t most = LAG_SLICES * scaled(entity->slice, entity->weight);
    return lag > most ? most : lag < -most ? -most : lag;
}

// Into the averages by `lag`. Joining moves the average towards the newcomer; the lag is enlarged
// so that it is left with what it had.
static void join_average(struct run_queue *queue, struct run_entity *entity, int64_t lag) {
    if (queue->weight)
        lag += lag * (int64_t)entity->weight / (int64_t)queue->weight;
    entity->virtual_time = queue->base - (uint64_t)lag;
    count(queue, entity, true);
}

static int64_t leave_average(struct run_queue *queue, struct run_entity *entity) {
    // Bounded, so that neither a long sleep nor a long run is paid back at once.
    int64_t lag = run_fair_bounded_lag(entity, (int64_t)(queue->base - entity->virtual_time));
    count(queue, entity, false);
    return lag;
}

void run_fair_refresh(struct run_queue *queue, struct run_entity *entity) {
    uint32_t before = entity->weight;
    if (!entity->group || run_group_weight(entity->group, entity->own_weight) == before)
        return;
    int64_t left = (int64_t)(entity->virtual_deadline - entity->virtual_time);
    int64_t lag = leave_average(queue, entity);
    entity->weight = run_group_weight(entity->group, entity->own_weight);
    join_average(queue, entity, lag * before / entity->weight);
    entity->virtual_deadline =
        entity->virtual_time + (uint64_t)(left * (int64_t)before / (int64_t)entity->weight);
}

void run_fair_enter(struct run_queue *queue, struct run_entity *entity) {
    run_group_join(entity->group, entity->own_weight);
    entity->weight = run_group_weight(entity->group, entity->own_weight);
    int64_t passed = (int64_t)(run_fair_clock(queue) - entity->left_at);
    if (entity->lag < 0 && passed > 0) // others have caught up meanwhile
        entity->lag = entity->lag + passed < 0 ? entity->lag + passed : 0;
    join_average(queue, entity, entity->lag);
    run_fair_set_deadline(entity);
}

void run_fair_leave(struct run_queue *queue, struct run_entity *entity) {
    entity->lag = leave_average(queue, entity);
    entity->left_at = run_fair_clock(queue);
    run_group_leave(entity->group, entity->own_weight);
}
