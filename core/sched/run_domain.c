// SPDX-License-Identifier: BSD-2-Clause
// Placement, balance and admission. Nothing here looks at more CPUs than a few, so that the cost
// does not grow with the machine.
#include "core/sched/run_domain.h"
#include <asm/errno.h>
#include <linux/sched.h>
#include <stddef.h>
#include "core/string.h"

#define LOOKS        8          // CPUs, or queued entities of one, looked at
#define BEHIND_MOST  4          // slices an entity may be behind those of other CPUs
#define RESERVE_ALL  (1u << 20) // a whole CPU
#define RESERVE_MOST (RESERVE_ALL / 100 * 95)

static bool has(const uint64_t mask[RUN_CPU_WORDS], unsigned cpu) {
    return mask[cpu / 64] >> cpu % 64 & 1;
}

static bool is_online(const struct run_domain *domain, unsigned cpu) {
    return atomic_load_explicit(&domain->online[cpu / 64], memory_order_relaxed) >> cpu % 64 & 1;
}

// Into the ring of those of its core that have joined.
static void join_core(struct run_domain *domain, unsigned cpu, unsigned core) {
    unsigned other = 0;
    while (other < domain->count && !(is_online(domain, other) && domain->core[other] == core))
        other++;
    bool found = other < domain->count;
    domain->core[cpu] = core;
    domain->sibling[cpu] = found ? domain->sibling[other] : cpu;
    if (found)
        domain->sibling[other] = cpu;
}

void run_domain_join(struct run_domain *domain, struct run_queue *queue, unsigned core,
                     unsigned node) {
    unsigned cpu = queue->cpu;
    spin_lock(&domain->admission);
    domain->queues[cpu] = queue;
    join_core(domain, cpu, core);
    domain->node[cpu] = node;
    domain->node_cpus[node][cpu / 64] |= 1ull << cpu % 64;
    domain->several_nodes |= node != 0;
    if (domain->count <= cpu)
        domain->count = cpu + 1;
    spin_unlock(&domain->admission);
    atomic_fetch_or(&domain->online[queue->cpu / 64], 1ull << queue->cpu % 64);
    run_domain_set_idle(domain, queue->cpu, true);
}

void run_domain_set_idle(struct run_domain *domain, unsigned cpu, bool idle) {
    uint64_t bit = 1ull << cpu % 64;
    if (idle)
        atomic_fetch_or(&domain->idle[cpu / 64], bit);
    else
        atomic_fetch_and(&domain->idle[cpu / 64], ~bit);
}

static bool counts_as_idle(const struct run_domain *domain, unsigned cpu) {
    return atomic_load_explicit(&domain->idle[cpu / 64], memory_order_relaxed) >> cpu % 64 & 1;
}

// One of a word's CPUs, all idle: the first whose whole core idles, if there is one among a few.
static unsigned choose_idle(const struct run_domain *domain, uint64_t cpus, unsigned word) {
    unsigned first = word * 64 + (unsigned)__builtin_ctzll(cpus);
    for (unsigned looks = LOOKS; cpus && looks; looks--, cpus &= cpus - 1) {
        unsigned cpu = word * 64 + (unsigned)__builtin_ctzll(cpus), other = domain->sibling[cpu];
        run_step();
        while (other != cpu && counts_as_idle(domain, other))
            other = domain->sibling[other];
        if (other == cpu)
            return cpu;
    }
    return first;
}

// An idle CPU of the mask, of the node of `from` if there is one, which no longer counts as idle;
// NULL: none.
static struct run_queue *claim_idle(struct run_domain *domain, const uint64_t mask[RUN_CPU_WORDS],
                                    unsigned from) {
    const uint64_t *near = domain->node_cpus[domain->node[from]];
    for (unsigned i = 0; i < RUN_CPU_WORDS * (domain->several_nodes ? 2 : 1); i++) {
        unsigned word = (from / 64 + i) % RUN_CPU_WORDS;
        uint64_t cpus = mask[word] & (i < RUN_CPU_WORDS ? near[word] : ~near[word]);
        run_step();
        cpus &= atomic_load_explicit(&domain->idle[word], memory_order_relaxed);
        if (!cpus)
            continue;
        unsigned cpu = choose_idle(domain, cpus, word);
        uint64_t bit = 1ull << cpu % 64;
        if (atomic_fetch_and(&domain->idle[word], ~bit) & bit)
            return domain->queues[cpu];
    }
    return NULL;
}

// The i-th of the CPUs to look at from a queue: all others of a small domain, else some that differ
// each time. The queue itself where there is none.
static struct run_queue *sample(const struct run_domain *domain, struct run_queue *from,
                                unsigned i) {
    run_step();
    uint64_t mixed = (from->accounted + i + from->cpu) * 0x9e3779b97f4a7c15u;
    unsigned cpu = domain->count <= LOOKS + 1 ? from->cpu + 1 + i : (unsigned)(mixed >> 32);
    cpu %= domain->count;
    return is_online(domain, cpu) ? domain->queues[cpu] : from;
}

// None before the first CPU has joined, which makes init before that.
static unsigned samples(const struct run_domain *domain) {
    return domain->count == 0 ? 0 : domain->count <= LOOKS + 1 ? domain->count - 1 : LOOKS;
}

static bool is_idle(const struct run_queue *queue) {
    return !__atomic_load_n(&queue->current, __ATOMIC_RELAXED) &&
           !__atomic_load_n(&queue->queued, __ATOMIC_RELAXED);
}

// Of what runs there: 0 is fair, 100 a reservation.
static unsigned urgency(const struct run_queue *queue) {
    const struct run_entity *current = __atomic_load_n(&queue->current, __ATOMIC_RELAXED);
    if (!current)
        return 0;
    return current->policy.policy == SCHED_DEADLINE ? 100 : current->policy.priority;
}

// Order of CPUs for one that looks for a place: the least urgent work, then the least.
static uint64_t burden(const struct run_queue *queue) {
    return (uint64_t)urgency(queue) << 32 | __atomic_load_n(&queue->queued, __ATOMIC_RELAXED);
}

struct run_queue *run_domain_place(struct run_domain *domain, struct run_entity *entity,
                                   struct run_queue *from, bool created) {
    unsigned last = entity->cpu;
    bool allowed = has(entity->allowed, last) && is_online(domain, last);
    struct run_queue *best = allowed ? domain->queues[last] : NULL;
    if (best && is_idle(best) && !created) // a new one's cache is cold
        return best;
    struct run_queue *idle = claim_idle(domain, entity->allowed, last);
    if (idle)
        return idle;
    // A cache is warm where it ran: only a new one looks around, or where there is something
    // urgent.
    bool looks = created || entity->policy.priority || !best || urgency(best);
    for (unsigned i = 0; looks && i < samples(domain); i++) {
        struct run_queue *other = sample(domain, from, i);
        if (has(entity->allowed, other->cpu) && (!best || burden(other) < burden(best)))
            best = other;
    }
    for (unsigned cpu = 0; !best && cpu < domain->count; cpu++)
        if (has(entity->allowed, cpu) && is_online(domain, cpu))
            best = domain->queues[cpu];
    return best ? best : from;
}

// Both locks, of the lower CPU first; the second is not waited for.
static bool lock_both(struct run_queue *one, struct run_queue *other) {
    struct run_queue *low = one->cpu < other->cpu ? one : other, *high = low == one ? other : one;
    spin_lock(&low->lock);
    if (spin_trylock(&high->lock))
        return true;
    spin_unlock(&low->lock);
    return false;
}

static void unlock_both(struct run_queue *one, struct run_queue *other) {
    spin_unlock(&one->lock);
    spin_unlock(&other->lock);
}

bool run_domain_pull(struct run_domain *domain, struct run_queue *queue, uint64_t now) {
    for (unsigned i = 0; i < samples(domain); i++) {
        struct run_queue *other = sample(domain, queue, i);
        // One that idles is about to run what it has.
        if (other == queue || !__atomic_load_n(&other->queued, __ATOMIC_RELAXED) ||
            !__atomic_load_n(&other->current, __ATOMIC_RELAXED) || !lock_both(queue, other))
            continue;
        struct run_entity *entity = run_queue_candidate(other, queue->cpu, LOOKS);
        if (entity)
            run_queue_move(other, queue, entity, now);
        unlock_both(queue, other);
        if (entity)
            return true;
    }
    return false;
}

// ns of this CPU's time by which its own are behind those of the other.
static int64_t time_behind(const struct run_queue *queue, const struct run_queue *other) {
    __int128 behind = (__int128)run_queue_behind(queue, other) * (__int128)queue->weight;
    return (int64_t)(behind >> 20);
}

// A CPU whose threads cannot be helped, because there is no other for them, must not collect a
// claim without end: it is set forward to a bound. Both locks are held.
static void forgive(struct run_queue *slow, const struct run_queue *fast) {
    int64_t most = (int64_t)RUN_SLICE_DEFAULT * BEHIND_MOST * slow->counted;
    int64_t behind = time_behind(slow, fast);
    if (behind > most)
        slow->shift += ((uint64_t)(behind - most) << 20) / slow->weight;
}

// Whether the best that waits here is better off there. Both locks are held.
static bool better_there(const struct run_queue *queue, const struct run_queue *other,
                         const struct run_entity *entity) {
    if (is_idle(other) || urgency(other) < urgency(queue))
        return true;
    if (entity->policy.priority)
        return !other->urgent && urgency(other) < entity->policy.priority;
    // A move that leaves the two less equal than before has to pay more.
    int64_t slices = other->weight + entity->weight <= queue->weight ? 1 : BEHIND_MOST - 1;
    return !other->urgent && !urgency(other) &&
           time_behind(queue, other) > slices * RUN_SLICE_DEFAULT;
}

// Both locks are held. The queue to reschedule; NULL: none.
static struct run_queue *push_to(struct run_queue *queue, struct run_queue *other, uint64_t now) {
    struct run_entity *entity = run_queue_candidate(queue, other->cpu, LOOKS);
    run_queue_charge(queue, now);
    run_queue_charge(other, now);
    bool moves = entity && better_there(queue, other, entity);
    bool reschedule = moves && run_queue_move(queue, other, entity, now);
    if (queue->counted && other->counted) {
        forgive(queue, other);
        forgive(other, queue);
    }
    return reschedule ? other : NULL;
}

// How far `other` is ahead of `queue`, its time since it was charged included, as far as one can
// tell without its lock.
static int64_t ahead(const struct run_queue *queue, const struct run_queue *other, uint64_t now) {
    uint64_t weight = __atomic_load_n(&other->weight, __ATOMIC_RELAXED);
    uint64_t spent = now - __atomic_load_n(&other->accounted, __ATOMIC_RELAXED);
    if (!weight || (int64_t)spent < 0)
        spent = 0;
    else if (spent >> 40) // against overflow
        spent = 1ull << 40;
    return run_queue_behind(queue, other) +
           (int64_t)(weight ? spent * RUN_WEIGHT_DEFAULT / weight : 0);
}

struct run_queue *run_domain_push(struct run_domain *domain, struct run_queue *queue,
                                  uint64_t now) {
    static const uint64_t any[RUN_CPU_WORDS] = {[0 ... RUN_CPU_WORDS - 1] = UINT64_MAX};
    struct run_queue *idle = claim_idle(domain, any, queue->cpu), *to = idle;
    for (unsigned i = 0; !idle && i < samples(domain); i++) {
        struct run_queue *other = sample(domain, queue, i);
        if (other != queue && (!to || ahead(queue, other, now) > ahead(queue, to, now)))
            to = other;
    }
    if (!to || to == queue)
        return NULL;
    struct run_queue *reschedule = NULL;
    if (lock_both(queue, to)) {
        reschedule = push_to(queue, to, now);
        unlock_both(queue, to);
    }
    if (idle && !reschedule) // claimed in vain
        run_domain_set_idle(domain, to->cpu, true);
    return reschedule;
}

// -- reservations --

static uint32_t density(const struct run_policy *policy) {
    if (policy->policy != SCHED_DEADLINE)
        return 0;
    return (uint32_t)((policy->runtime * RESERVE_ALL + policy->deadline - 1) / policy->deadline);
}

// The CPU on which an entity's reservation is.
static struct run_queue *reserved_on(const struct run_domain *domain,
                                     const struct run_entity *entity) {
    unsigned cpu = 0;
    while (!has(entity->allowed, cpu))
        cpu++;
    return domain->queues[cpu];
}

void run_domain_dismiss(struct run_domain *domain, struct run_entity *entity) {
    uint32_t before = density(&entity->policy);
    if (!before)
        return;
    spin_lock(&domain->admission);
    reserved_on(domain, entity)->reserved -= before;
    entity->policy.policy = SCHED_NORMAL; // once
    spin_unlock(&domain->admission);
}

int run_domain_admit(struct run_domain *domain, struct run_entity *entity,
                     const struct run_policy *policy, const uint64_t mask[RUN_CPU_WORDS]) {
    uint32_t before = density(&entity->policy), wanted = density(policy);
    struct run_queue *old = before ? reserved_on(domain, entity) : NULL, *best = NULL;
    spin_lock(&domain->admission);
    if (old)
        old->reserved -= before;
    for (unsigned cpu = 0; wanted && cpu < domain->count; cpu++)
        if (has(mask, cpu) && is_online(domain, cpu) &&
            (!best || domain->queues[cpu]->reserved < best->reserved))
            best = domain->queues[cpu];
    // On one CPU, earliest deadline first keeps all deadlines if the densities sum up to at most 1.
    bool fits = !wanted || (best && best->reserved + wanted <= RESERVE_MOST);
    if (!fits) {
        if (old)
            old->reserved += before;
    } else {
        memcpy(entity->allowed, mask, sizeof entity->allowed);
    }
    if (fits && wanted) {
        best->reserved += wanted;
        for (unsigned word = 0; word < RUN_CPU_WORDS; word++)
            entity->allowed[word] = word == best->cpu / 64 ? 1ull << best->cpu % 64 : 0;
    }
    spin_unlock(&domain->admission);
    return fits ? 0 : -EBUSY;
}
