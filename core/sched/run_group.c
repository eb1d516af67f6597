// SPDX-License-Identifier: BSD-2-Clause
// Shares and limits of groups.
#include <asm/errno.h>
#include "core/sched/run_group.h"

void run_group_init(struct run_group *group, struct run_group *parent) {
    *group = (struct run_group){.parent = parent,
                                .weight = RUN_WEIGHT_DEFAULT,
                                .quota = RUN_UNLIMITED,
                                .period = RUN_GROUP_PERIOD};
    for (unsigned word = 0; word < sizeof group->cpus / sizeof *group->cpus; word++)
        group->cpus[word] = parent ? parent->cpus[word] : UINT64_MAX;
}

// -- shares --

// The first active member makes the group an active member of its parent.
void run_group_join(struct run_group *group, uint32_t weight) {
    if (!group)
        return;
    spin_lock(&group->lock);
    if (group->active == 0)
        run_group_join(group->parent, group->weight);
    group->active += weight;
    spin_unlock(&group->lock);
}

void run_group_leave(struct run_group *group, uint32_t weight) {
    if (!group)
        return;
    spin_lock(&group->lock);
    group->active -= weight;
    if (group->active == 0)
        run_group_leave(group->parent, group->weight);
    spin_unlock(&group->lock);
}

uint32_t run_group_weight(struct run_group *group, uint32_t weight) {
    uint64_t share = weight;
    for (; group; group = group->parent) {
        uint64_t active = __atomic_load_n(&group->active, __ATOMIC_RELAXED);
        uint32_t above = __atomic_load_n(&group->weight, __ATOMIC_RELAXED);
        share = active > share ? share * above / active : above;
    }
    return share ? (uint32_t)share : 1;
}

int run_group_set_weight(struct run_group *group, unsigned cpu_weight) {
    if (cpu_weight < 1 || cpu_weight > 10000)
        return -ERANGE;
    uint32_t weight = (uint32_t)((uint64_t)RUN_WEIGHT_DEFAULT * cpu_weight / 100);
    spin_lock(&group->lock);
    if (group->active) {
        // Join first: the parent must not become inactive in between.
        run_group_join(group->parent, weight);
        run_group_leave(group->parent, group->weight);
    }
    __atomic_store_n(&group->weight, weight, __ATOMIC_RELAXED);
    spin_unlock(&group->lock);
    return 0;
}

unsigned run_group_cpu_weight(const struct run_group *group) {
    return (unsigned)(((uint64_t)group->weight * 100 + RUN_WEIGHT_DEFAULT / 2) /
                      RUN_WEIGHT_DEFAULT);
}

// -- limits --

int run_group_set_bandwidth(struct run_group *group, uint64_t quota, uint64_t period) {
    if (period < RUN_GROUP_PERIOD_LEAST || period > RUN_GROUP_PERIOD_MOST ||
        quota < RUN_GROUP_QUOTA_LEAST || (quota != RUN_UNLIMITED && quota > INT64_MAX / 2))
        return -EINVAL;
    spin_lock(&group->lock);
    group->quota = quota;
    group->period = period;
    group->period_end = 0;
    group->budget = 0;
    spin_unlock(&group->lock);
    return 0;
}

#define LEAST 100000 // ns; what is given at once: a CPU's timer is not set closer

// Quota does not add up over periods but for what was too little to give; a debt is paid out of the
// next one. Lock held.
static void refill(struct run_group *group, uint64_t now) {
    if (now < group->period_end)
        return;
    bool next = group->period_end && now - group->period_end < group->period;
    if (next)
        group->period_end += group->period;
    else
        group->period_end = now + group->period;
    int64_t rest = next && group->budget < LEAST ? group->budget : 0;
    group->budget = (int64_t)group->quota + rest;
    group->periods++;
    group->throttled = false;
}

static void give_back(struct run_group *group, int64_t ns) {
    spin_lock(&group->lock);
    group->budget += ns;
    spin_unlock(&group->lock);
}

static uint64_t take_here(struct run_group *group, uint64_t wanted, uint64_t now, uint64_t *until) {
    spin_lock(&group->lock);
    refill(group, now);
    uint64_t granted = group->budget >= LEAST ? (uint64_t)group->budget : 0;
    if (granted > wanted)
        granted = wanted;
    group->budget -= (int64_t)granted;
    if (!granted || group->period_end < *until)
        *until = group->period_end;
    if (!granted && !group->throttled) {
        group->throttled = true;
        group->throttled_periods++;
    }
    spin_unlock(&group->lock);
    return granted;
}

uint64_t run_group_take(struct run_group *group, uint64_t wanted, uint64_t now, uint64_t *until) {
    while (group && group->quota == RUN_UNLIMITED)
        group = group->parent;
    if (!group)
        return wanted;
    // Small pieces, so that no CPU takes all there is.
    uint64_t piece = group->quota / 8;
    if (wanted > piece)
        wanted = piece;
    uint64_t granted = take_here(group, wanted, now, until);
    if (!granted)
        return 0;
    uint64_t above = run_group_take(group->parent, granted, now, until);
    if (above < granted)
        give_back(group, (int64_t)(granted - above));
    return above;
}

void run_group_return(struct run_group *group, int64_t ns) {
    for (; group; group = group->parent)
        if (group->quota != RUN_UNLIMITED)
            give_back(group, ns);
}

// -- accounts --

void run_group_charge(struct run_group *group, uint64_t ns) {
    for (; group; group = group->parent)
        atomic_fetch_add_explicit(&group->usage, ns, memory_order_relaxed);
}

void run_group_charge_wait(struct run_group *group, uint64_t ns) {
    for (; group; group = group->parent)
        if (group->quota != RUN_UNLIMITED)
            atomic_fetch_add_explicit(&group->throttled_time, ns, memory_order_relaxed);
}
