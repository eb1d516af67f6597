// SPDX-License-Identifier: BSD-2-Clause
// What a CPU runs next: three trees, of the fair ones by virtual deadline, the urgent ones by
// deadline or priority, and those parked until a budget is refilled.
#include <linux/sched.h>
#include <stddef.h>
#include "core/list.h"
#include "core/sched/run_core.h"
#include "core/sched/run_fair.h"
#include "core/sched/run_queue.h"

#define BATCH       16 // parked or released in one pick; more wait for the next, which comes at once
#define EVENT_LEAST 100000 // ns; a timer closer than this costs more than it gains
// Urgent keys: deadlines of reservations in ns come before these, by priority and sequence.
#define FIXED_KEY       (1ull << 62)
#define FIXED_KEY_SHIFT 54

static struct run_entity *entity_of(struct run_node *node) {
    return node ? container_of(node, struct run_entity, node) : NULL;
}

static bool is_reserved(const struct run_entity *entity) {
    return entity->policy.policy == SCHED_DEADLINE;
}

static bool is_urgent(const struct run_entity *entity) {
    return entity->policy.priority || is_reserved(entity);
}

// -- what the urgent leave to the rest --

uint64_t run_urgent_period = 1000000000, run_urgent_runtime = 950000000; // as Linux

// The urgent have had their part of this period, and fair ones wait: fixed priorities stand back.
// Reservations, which admission has limited, do not, but what they use counts.
static bool throttled(const struct run_queue *queue) {
    return queue->counted && queue->urgent_time >= run_urgent_runtime;
}

static void begin_urgent_period(struct run_queue *queue, uint64_t now) {
    if (now - queue->urgent_begin < run_urgent_period)
        return;
    queue->urgent_begin = now;
    queue->urgent_time = 0;
}

// It runs before all fair ones.
static bool goes_first(const struct run_queue *queue, const struct run_entity *entity) {
    return is_reserved(entity) || (entity->policy.priority && !throttled(queue));
}

// -- the trees --

static void enqueue(struct run_queue *queue, struct run_entity *entity) {
    entity->place = RUN_QUEUED;
    queue->queued++;
    entity->node.value = entity->virtual_time;
    if (is_urgent(entity)) {
        run_tree_insert(&queue->urgent, &entity->node);
    } else {
        entity->node.key = entity->virtual_deadline;
        run_tree_insert(&queue->fair, &entity->node);
    }
}

static void dequeue(struct run_queue *queue, struct run_entity *entity) {
    run_tree_erase(is_urgent(entity) ? &queue->urgent : &queue->fair, &entity->node);
    queue->queued--;
    if (queue->next == entity)
        queue->next = NULL;
}

// Behind those of its priority.
static void set_fixed_key(struct run_queue *queue, struct run_entity *entity) {
    entity->node.key =
        FIXED_KEY + ((uint64_t)(99 - entity->policy.priority) << FIXED_KEY_SHIFT) + queue->sequence;
    queue->sequence++;
    entity->budget = entity->slice;
}

static void park(struct run_queue *queue, struct run_entity *entity, uint64_t release) {
    entity->place = RUN_PARKED;
    entity->node.key = entity->node.value = release;
    run_tree_insert(&queue->parked, &entity->node);
}

// -- reservations: a constant-bandwidth server each (Abeni and Buttazzo 1998) --

static void new_instance(struct run_entity *entity, uint64_t start) {
    int64_t runtime = (int64_t)entity->policy.runtime;
    entity->budget = entity->budget < 0 ? entity->budget + runtime : runtime;
    entity->deadline = start + entity->policy.deadline;
    entity->refill = start + entity->policy.period;
}

// It wakes, and may use the rest of its budget before its deadline if that is no more than its
// share. False: it has to wait for its next period.
static bool resume_reservation(struct run_entity *entity, uint64_t now) {
    if (now < entity->refill && (entity->budget <= 0 || entity->deadline <= now))
        return false;
    if (now >= entity->refill ||
        (unsigned __int128)(uint64_t)entity->budget * entity->policy.deadline >
            (unsigned __int128)entity->policy.runtime * (entity->deadline - now)) {
        entity->budget = 0;
        new_instance(entity, now);
    }
    return true;
}

// -- limits of groups --

// Hands back what the entity that leaves the CPU has not used.
static void settle(struct run_entity *entity, uint64_t now) {
    if (is_urgent(entity) || !entity->group || entity->refill == RUN_NEVER)
        return;
    if (entity->budget < 0 || now < entity->refill)
        run_group_return(entity->group, entity->budget);
    entity->budget = 0;
    entity->refill = RUN_NEVER;
}

// Whether a fair entity may use the CPU; if not, `refill` says when to ask again.
static bool funded(struct run_entity *entity, uint64_t now) {
    if (!entity->group || (entity->budget > 0 && now < entity->refill))
        return true;
    settle(entity, now);
    uint64_t until = RUN_NEVER;
    uint64_t granted = run_group_take(entity->group, entity->slice, now, &until);
    entity->budget = (int64_t)granted;
    entity->refill = until;
    return granted > 0;
}

// -- arrival and departure --

void run_entity_init(struct run_entity *entity) {
    static const struct run_policy normal = {.policy = SCHED_NORMAL};
    *entity = (struct run_entity){.node.random = (uint32_t)(uintptr_t)entity};
    for (unsigned word = 0; word < RUN_CPU_WORDS; word++)
        entity->allowed[word] = UINT64_MAX;
    run_entity_set_policy(entity, &normal);
}

void run_entity_set_policy(struct run_entity *entity, const struct run_policy *policy) {
    entity->policy = *policy;
    bool fair = !is_urgent(entity);
    entity->own_weight =
        policy->policy == SCHED_IDLE ? RUN_WEIGHT_IDLE : run_nice_weight(policy->nice);
    entity->weight = entity->own_weight;
    entity->slice = fair && policy->runtime ? (uint32_t)policy->runtime : RUN_SLICE_DEFAULT;
    entity->request = entity->slice;
    entity->budget = 0;
    entity->refill = policy->policy == SCHED_DEADLINE ? 0 : RUN_NEVER;
    entity->lag = 0;
}

void run_queue_init(struct run_queue *queue, unsigned cpu) {
    *queue = (struct run_queue){.cpu = cpu};
}

// Whether a queued entity should run in place of the current one.
static bool preempts(const struct run_queue *queue, const struct run_entity *entity) {
    const struct run_entity *current = queue->current;
    if (!current)
        return true;
    if (goes_first(queue, entity) || goes_first(queue, current))
        return goes_first(queue, entity) &&
               (!goes_first(queue, current) || (int64_t)(entity->node.key - current->node.key) < 0);
    if (is_urgent(entity) || is_urgent(current)) // one of them stands back
        return is_urgent(current);
    return run_fair_eligible(queue, entity->virtual_time) &&
           (int64_t)(entity->virtual_deadline - current->virtual_deadline) < 0;
}

// Key, deadline and place among the others of one that is to be queued or is current.
static void enter(struct run_queue *queue, struct run_entity *entity) {
    if (is_reserved(entity))
        entity->node.key = entity->deadline;
    else if (is_urgent(entity))
        set_fixed_key(queue, entity);
    else
        run_fair_enter(queue, entity);
}

bool run_queue_add(struct run_queue *queue, struct run_entity *entity, uint64_t now) {
    run_queue_charge(queue, now);
    begin_urgent_period(queue, now);
    entity->cpu = queue->cpu;
    if (!entity->ready_since)
        entity->ready_since = now;
    if (is_reserved(entity) && !resume_reservation(entity, now)) {
        park(queue, entity, entity->refill);
        return true;
    }
    enter(queue, entity);
    enqueue(queue, entity);
    // The first to queue behind the current one starts the timer of its slice.
    return queue->queued == 1 || preempts(queue, entity);
}

void run_queue_prefer(struct run_queue *queue, struct run_entity *entity) {
    if (entity->place == RUN_QUEUED && entity->cpu == queue->cpu)
        queue->next = entity;
}

void run_queue_remove(struct run_queue *queue, struct run_entity *entity, uint64_t now) {
    bool parked = entity->place == RUN_PARKED;
    if (entity->place == RUN_CURRENT) {
        uint64_t wanted = (entity->request + 2 * entity->burst) / 2;
        entity->request = wanted < EVENT_LEAST     ? EVENT_LEAST
                          : wanted < entity->slice ? (uint32_t)wanted
                                                   : entity->slice;
        entity->burst = 0;
    }
    if (parked)
        run_tree_erase(&queue->parked, &entity->node);
    else if (entity->place == RUN_QUEUED)
        dequeue(queue, entity);
    else
        queue->current = NULL;
    settle(entity, now);
    if (!parked && !is_urgent(entity))
        run_fair_leave(queue, entity);
    entity->place = RUN_NOWHERE;
}

void run_queue_change(struct run_queue *queue, struct run_entity *entity,
                      const struct run_policy *policy, struct run_group *group, uint64_t now) {
    uint8_t place = entity->place;
    run_queue_charge(queue, now);
    if (place != RUN_NOWHERE)
        run_queue_remove(queue, entity, now);
    run_entity_set_policy(entity, policy);
    entity->group = group;
    if (place == RUN_CURRENT) {
        if (is_reserved(entity))
            new_instance(entity, now);
        enter(queue, entity);
        entity->place = RUN_CURRENT;
        queue->current = entity;
    } else if (place != RUN_NOWHERE) {
        run_queue_add(queue, entity, now);
    }
}

// -- the current one --

void run_queue_charge(struct run_queue *queue, uint64_t now) {
    struct run_entity *entity = queue->current;
    uint64_t ns = now - queue->accounted;
    if ((int64_t)ns <= 0)
        return;
    queue->accounted = now;
    if (!entity)
        return;
    entity->run_time += ns;
    queue->guest_time += entity->guest ? ns : 0;
    entity->burst += ns;
    entity->budget -= (int64_t)ns;
    run_group_charge(entity->group, ns);
    if (is_urgent(entity)) {
        queue->urgent_time += ns;
        return;
    }
    run_fair_charge(queue, entity, ns);
}

// Parked ones whose time has come join again.
static void release(struct run_queue *queue, uint64_t now) {
    for (unsigned i = 0; i < BATCH; i++) {
        struct run_entity *entity = entity_of(run_tree_first(queue->parked));
        if (!entity || entity->node.key > now)
            return;
        run_tree_erase(&queue->parked, &entity->node);
        if (is_reserved(entity)) {
            // On time, unless nobody looked for a whole period.
            uint64_t due = entity->node.key;
            new_instance(entity, now - due < entity->policy.deadline ? due : now);
        } else {
            run_group_charge_wait(entity->group, now - entity->parked_since);
        }
        enter(queue, entity);
        enqueue(queue, entity);
    }
}

static void park_fair(struct run_queue *queue, struct run_entity *entity, uint64_t now) {
    if (entity == queue->current) {
        queue->current = NULL;
        entity->ready_since = now;
    } else {
        dequeue(queue, entity);
    }
    run_fair_leave(queue, entity);
    entity->parked_since = now;
    park(queue, entity, entity->refill);
}

// Whether the current one may go on if nobody preempts it: a new slice has to be earned.
static bool review_current(struct run_queue *queue, uint64_t now) {
    struct run_entity *entity = queue->current;
    if (!entity)
        return false;
    if (is_reserved(entity)) {
        if (entity->budget > 0)
            return true;
        queue->current = NULL;
        entity->ready_since = now;
        park(queue, entity, entity->refill);
        return false;
    }
    if (is_urgent(entity)) {
        if (entity->budget <= 0 && entity->policy.policy == SCHED_RR)
            set_fixed_key(queue, entity);
        else if (entity->budget <= 0)
            entity->budget = entity->slice;
        return true;
    }
    if ((int64_t)(entity->virtual_time - entity->virtual_deadline) < 0)
        return true;
    run_fair_refresh(queue, entity);
    entity->request = entity->slice;
    run_fair_set_deadline(entity);
    return run_fair_eligible(queue, entity->virtual_time);
}

// The queued one of the earliest deadline among the eligible.
static struct run_entity *earliest(const struct run_queue *queue) {
    struct run_node *node = queue->fair;
    while (node) {
        run_step();
        if (node->left && run_fair_eligible(queue, node->left->least))
            node = node->left;
        else if (run_fair_eligible(queue, node->value))
            return entity_of(node);
        else
            node = node->right;
    }
    // None: the average is pulled down by one that is not in the tree.
    return entity_of(run_tree_first(queue->fair));
}

static struct run_entity *best(const struct run_queue *queue, bool may_go_on) {
    struct run_entity *current = queue->current, *next = queue->next;
    struct run_entity *urgent = entity_of(run_tree_first(queue->urgent));
    if (urgent && goes_first(queue, urgent))
        return preempts(queue, urgent) ? urgent : current;
    if (current && (goes_first(queue, current) || !queue->fair))
        return current;
    if (!may_go_on && next && run_fair_eligible(queue, next->virtual_time))
        return next;
    struct run_entity *first = earliest(queue);
    return may_go_on && !preempts(queue, first) ? current : first;
}

// A queued one of this cookie among a few.
static struct run_entity *find_cookie(struct run_node *node, uint64_t cookie, unsigned *looks) {
    if (!node || !*looks)
        return NULL;
    --*looks;
    if (entity_of(node)->cookie == cookie)
        return entity_of(node);
    struct run_entity *found = find_cookie(node->left, cookie, looks);
    return found ? found : find_cookie(node->right, cookie, looks);
}

// What the other hyper-threads of the core let this one run.
static struct run_entity *share_core(struct run_queue *queue, struct run_entity *picked,
                                     uint64_t now) {
    bool may = run_core_enter(queue, picked, false, now);
    queue->held = picked && !may;
    if (!queue->held)
        return picked;
    unsigned looks = BATCH;
    struct run_entity *guest = find_cookie(queue->fair, queue->core->cookie, &looks);
    if (!guest || !funded(guest, now) || !run_core_enter(queue, guest, true, now))
        return NULL;
    queue->held = false;
    return guest;
}

struct run_entity *run_queue_pick(struct run_queue *queue, uint64_t now) {
    run_queue_charge(queue, now);
    begin_urgent_period(queue, now);
    release(queue, now);
    bool may_go_on = review_current(queue, now);
    struct run_entity *picked = NULL;
    for (unsigned i = 0; i < BATCH; i++) {
        picked = best(queue, may_go_on);
        if (!picked || is_urgent(picked) || funded(picked, now))
            break;
        may_go_on &= picked != queue->current;
        park_fair(queue, picked, now);
        picked = NULL;
    }
    if (queue->core)
        picked = share_core(queue, picked, now);
    struct run_entity *previous = queue->current;
    if (picked == previous)
        return picked;
    if (previous) {
        settle(previous, now);
        previous->ready_since = now;
        enqueue(queue, previous);
    }
    queue->current = picked;
    if (picked) {
        dequeue(queue, picked);
        picked->place = RUN_CURRENT;
        picked->run_delay += now - picked->ready_since;
        picked->ready_since = 0;
        if (!is_urgent(picked))
            run_fair_refresh(queue, picked);
    }
    return picked;
}

void run_queue_yield(struct run_queue *queue, uint64_t now) {
    struct run_entity *entity = queue->current;
    run_queue_charge(queue, now);
    if (is_urgent(entity)) {
        entity->budget = 0;
        if (!is_reserved(entity))
            set_fixed_key(queue, entity);
        return;
    }
    int64_t left = (int64_t)(entity->virtual_deadline - entity->virtual_time);
    if (left <= 0)
        return;
    run_fair_advance(queue, entity, left);
}

static uint64_t sooner(uint64_t event, uint64_t from, int64_t ns) {
    uint64_t other = from + (ns > 0 ? (uint64_t)ns : 0);
    return other < event ? other : event;
}

uint64_t run_queue_next_event(struct run_queue *queue) {
    uint64_t event = queue->parked ? run_tree_first(queue->parked)->key : RUN_NEVER;
    const struct run_entity *current = queue->current;
    if (!current) // more than a batch was parked at once
        return queue->queued && !queue->held ? queue->accounted : event;
    if (queue->core)
        event = sooner(event, run_core_turn_end(queue), 0);
    bool limited = !is_urgent(current) && current->refill != RUN_NEVER;
    int64_t slice = current->budget;
    if (!is_urgent(current))
        slice = (int64_t)(current->virtual_deadline - current->virtual_time) *
                (int64_t)current->weight / RUN_WEIGHT_DEFAULT;
    // Behind something urgent, too: those who wait there may be better off elsewhere.
    if (queue->queued)
        event = sooner(event, queue->accounted, slice < EVENT_LEAST ? EVENT_LEAST : slice);
    if (queue->urgent && throttled(queue))
        event = sooner(event, queue->urgent_begin, (int64_t)run_urgent_period);
    if (limited || is_reserved(current))
        event = sooner(event, queue->accounted, current->budget);
    if (limited)
        event = sooner(event, current->refill, 0);
    return event;
}

// -- between queues --

struct candidate {
    unsigned cpu, looks;
    struct run_entity *found;
};

static void look(struct run_node *node, struct candidate *candidate) {
    if (!node || !candidate->looks)
        return;
    look(node->left, candidate);
    if (!candidate->looks)
        return;
    candidate->looks--;
    run_step();
    struct run_entity *entity = entity_of(node), *found = candidate->found;
    if ((entity->allowed[candidate->cpu / 64] >> candidate->cpu % 64 & 1) &&
        (!found || (int64_t)(node->value - found->node.value) < 0))
        candidate->found = entity;
    look(node->right, candidate);
}

struct run_entity *run_queue_candidate(const struct run_queue *queue, unsigned cpu,
                                       unsigned looks) {
    struct candidate candidate = {.cpu = cpu, .looks = looks};
    look(queue->urgent, &candidate);
    if (!candidate.found)
        look(queue->fair, &candidate);
    return candidate.found;
}

int64_t run_queue_behind(const struct run_queue *queue, const struct run_queue *other) {
    return (int64_t)(run_fair_clock(other) - run_fair_clock(queue));
}

void run_queue_follow(struct run_queue *queue, const struct run_queue *other) {
    if (!queue->counted)
        queue->shift = run_fair_clock(other) - queue->base;
}

bool run_queue_move(struct run_queue *from, struct run_queue *to, struct run_entity *entity,
                    uint64_t now) {
    run_queue_follow(to, from);
    int64_t lag = run_fair_bounded_lag(
        entity, (int64_t)(run_fair_clock(to) - entity->virtual_time - from->shift));
    run_queue_remove(from, entity, now);
    entity->left_at = run_fair_clock(to);
    // What run_queue_add will enlarge.
    entity->lag = lag - lag * (int64_t)entity->weight / (int64_t)(to->weight + entity->weight);
    return run_queue_add(to, entity, now);
}
