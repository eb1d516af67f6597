// SPDX-License-Identifier: BSD-2-Clause
// The discrete-event machine. What scheduler.c does with locks, interrupts and context switches is
// done here with a heap of events; who runs where is decided by the same code.
#include "machine.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "core/list.h"
#include "core/sched/run_core.h"

#define KICK_TIME (2 * US) // until a kicked CPU looks

enum event_kind { EVENT_TIMER, EVENT_BURST, EVENT_KICK, EVENT_WAKE };

struct event {
    uint64_t time;
    uint64_t generation; // of the CPU's burst or timer; another by now: the event is void
    enum event_kind kind;
    unsigned index; // of the CPU or actor
};

struct cpu {
    struct run_queue queue;
    struct actor *current;
    uint64_t since; // when `current` was last charged for its burst
    uint64_t armed, timer_generation, burst_generation;
    uint64_t idle_since;
    bool kicked;
};

struct machine machine;
struct run_domain domain;
uint64_t run_steps;

static struct cpu cpus[RUN_CPUS];
static struct event *heap;
static size_t heap_size, heap_room;
static uint64_t seed;

uint32_t machine_random(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 32);
}

// -- events --

static void push_event(uint64_t time, enum event_kind kind, unsigned index, uint64_t generation) {
    if (heap_size == heap_room) {
        heap_room = heap_room ? 2 * heap_room : 1024;
        heap = realloc(heap, heap_room * sizeof *heap);
        if (!heap)
            abort();
    }
    size_t at = heap_size++;
    for (; at && heap[(at - 1) / 2].time > time; at = (at - 1) / 2)
        heap[at] = heap[(at - 1) / 2];
    heap[at] = (struct event){time, generation, kind, index};
}

static struct event pop_event(void) {
    struct event first = heap[0], last = heap[--heap_size];
    size_t at = 0;
    for (size_t child = 1; child < heap_size; child = 2 * at + 1) {
        child += child + 1 < heap_size && heap[child + 1].time < heap[child].time;
        if (heap[child].time >= last.time)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return first;
}

// -- what scheduler.c does --

static uint64_t host_time(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * S + (uint64_t)time.tv_nsec;
}

static void kick(unsigned cpu) {
    if (cpus[cpu].kicked)
        return;
    cpus[cpu].kicked = true;
    machine.kicks++;
    push_event(machine.now + KICK_TIME, EVENT_KICK, cpu, 0);
}

static void violate(const char *what) {
    if (!machine.violation)
        machine.violation = what;
}

static void enqueue(struct actor *actor, struct run_queue *from, bool created) {
    struct run_queue *queue = run_domain_place(&domain, &actor->entity, from, created);
    if (from->counted)
        run_queue_follow(queue, from);
    if (run_queue_add(queue, &actor->entity, machine.now))
        kick(queue->cpu);
    if (queue == from && !created)
        run_queue_prefer(queue, &actor->entity);
    if (queue->weight > machine.widest)
        machine.widest = queue->weight;
}

void machine_wake(struct actor *actor, unsigned from_cpu) {
    if (!actor->asleep)
        return;
    actor->asleep = false;
    actor->left = actor->random ? 1 + machine_random() % (2 * actor->work) : actor->work;
    enqueue(actor, &cpus[from_cpu].queue, false);
}

static void arm(struct cpu *cpu) {
    uint64_t event = run_queue_next_event(&cpu->queue);
    if (event >= cpu->armed)
        return;
    cpu->armed = event;
    push_event(event < machine.now ? machine.now : event, EVENT_TIMER, cpu->queue.cpu,
               ++cpu->timer_generation);
}

// The current one's burst, as far as it has come; at its end what it does then.
static void work(struct cpu *cpu) {
    struct actor *actor = cpu->current;
    if (!actor)
        return;
    uint64_t ran = machine.now - cpu->since;
    cpu->since = machine.now;
    if (actor->work == RUN_NEVER)
        return;
    actor->left -= ran < actor->left ? ran : actor->left;
    if (actor->left)
        return;
    run_queue_charge(&cpu->queue, machine.now);
    if (actor->yields) {
        actor->left = actor->work;
        if (cpu->queue.current == &actor->entity)
            run_queue_yield(&cpu->queue, machine.now);
        return;
    }
    run_queue_remove(&cpu->queue, &actor->entity, machine.now);
    actor->asleep = true;
    actor->running = 0;
    cpu->current = NULL;
    if (actor->peer)
        machine_wake(actor->peer, cpu->queue.cpu);
    if (actor->sleep != RUN_NEVER)
        push_event(machine.now +
                       (actor->random ? 1 + machine_random() % (2 * actor->sleep) : actor->sleep),
                   EVENT_WAKE, (unsigned)(actor - machine.actor), 0);
}

// It gets a CPU: what it waited for that, and whether it may have this one.
static void begin(const struct cpu *cpu, struct actor *actor) {
    uint64_t wait = actor->entity.run_delay - actor->delay_before;
    actor->delay_before = actor->entity.run_delay;
    actor->waits++;
    if (wait > actor->longest_wait)
        actor->longest_wait = wait;
    actor->moves += actor->ran_on != cpu->queue.cpu;
    actor->ran_on = cpu->queue.cpu;
    if (actor->running++)
        violate("a thread runs on two CPUs");
    for (unsigned i = 0; cpu->queue.core && i < cpu->queue.core->count; i++) {
        const struct run_entity *other = cpu->queue.core->queues[i]->current;
        if (other && other->cookie != actor->entity.cookie)
            violate("two cookies on a core");
    }
    if (!(actor->entity.allowed[cpu->queue.cpu / 64] >> cpu->queue.cpu % 64 & 1))
        violate("a thread runs on a CPU that it may not use");
}

static void schedule(struct cpu *cpu) {
    struct run_queue *queue = &cpu->queue;
    struct actor *previous = cpu->current;
    work(cpu);
    if (!queue->queued && !cpu->current)
        run_domain_pull(&domain, queue, machine.now);
    struct run_entity *entity = run_queue_pick(queue, machine.now);
    struct actor *next = entity ? container_of(entity, struct actor, entity) : NULL;
    machine.decisions++;
    if (queue->weight > machine.widest)
        machine.widest = queue->weight;
    if (next != cpu->current) {
        if (cpu->current)
            cpu->current->running--;
        cpu->current = next;
        if (next)
            begin(cpu, next);
    }
    for (unsigned i = 0; queue->kick_core && i < queue->core->count; i++)
        if (queue->core->queues[i] != queue)
            kick(queue->core->queues[i]->cpu);
    queue->kick_core = false;
    if (!next && !queue->held)
        run_domain_set_idle(&domain, queue->cpu, true);
    if (next != previous) {
        machine.switches++;
        if (!next) {
            cpu->idle_since = machine.now;
        } else if (!previous) {
            run_domain_set_idle(&domain, queue->cpu, false);
            machine.idle += machine.now - cpu->idle_since;
        }
    }
    arm(cpu);
    cpu->since = machine.now;
    if (next && next->work != RUN_NEVER)
        push_event(machine.now + next->left, EVENT_BURST, queue->cpu, ++cpu->burst_generation);
    else
        cpu->burst_generation++;
    if (!next && queue->queued && !queue->held)
        kick(queue->cpu);
}

static void timer(struct cpu *cpu) {
    uint64_t event = run_queue_next_event(&cpu->queue);
    machine.timers++;
    machine.useless_timers += event == RUN_NEVER;
    cpu->armed = RUN_NEVER;
    if (event > machine.now) {
        arm(cpu);
        return;
    }
    struct run_queue *other =
        cpu->queue.queued ? run_domain_push(&domain, &cpu->queue, machine.now) : NULL;
    if (other)
        kick(other->cpu);
    schedule(cpu);
}

// -- invariants --

// Every CPU with work has someone who will look at it: itself by a timer, or a kick on its way.
static void check_wake_ups(void) {
    for (unsigned i = 0; i < machine.cpus; i++) {
        const struct cpu *cpu = &cpus[i];
        const struct run_queue *queue = &cpu->queue;
        bool fair_only = queue->current && !queue->current->policy.priority;
        if (queue->queued && !queue->held && !cpu->kicked && cpu->armed == RUN_NEVER &&
            (!cpu->current || fair_only))
            violate("a CPU sleeps over a thread that waits");
        if (queue->parked && !cpu->kicked && cpu->armed == RUN_NEVER)
            violate("nobody will look at a parked thread");
        if (queue->current != (cpu->current ? &cpu->current->entity : NULL))
            violate("the queue and the CPU differ on what runs");
    }
    for (unsigned i = 0; i < machine.actors; i++) {
        const struct actor *actor = &machine.actor[i];
        if (!actor->asleep && actor->entity.place == RUN_NOWHERE)
            violate("a thread that is awake is on no queue");
        if (actor->asleep && actor->entity.place != RUN_NOWHERE)
            violate("a thread that sleeps is on a queue");
    }
}

// -- time --

void machine_run(uint64_t until) {
    uint64_t steps = run_steps, check = 0, host = host_time();
    while (heap_size && heap[0].time <= until && !machine.violation) {
        struct event event = pop_event();
        struct cpu *cpu = &cpus[event.kind == EVENT_WAKE ? 0 : event.index];
        machine.now = event.time;
        switch (event.kind) {
        case EVENT_WAKE:
            // The interrupt of its timer comes to the CPU on which it went to sleep.
            machine_wake(&machine.actor[event.index], machine.actor[event.index].entity.cpu);
            break;
        case EVENT_KICK:
            cpu->kicked = false;
            schedule(cpu);
            break;
        case EVENT_TIMER:
            if (event.generation == cpu->timer_generation)
                timer(cpu);
            break;
        case EVENT_BURST:
            if (event.generation == cpu->burst_generation)
                schedule(cpu);
            break;
        }
        if (machine.now >= check) {
            uint64_t before = host_time();
            check_wake_ups();
            check = machine.now + 100 * MS;
            host += host_time() - before;
        }
    }
    machine.now = until;
    machine.steps += run_steps - steps;
    machine.host_ns += host_time() - host;
    check_wake_ups();
}

uint64_t machine_time(struct actor *actor) {
    const struct run_queue *queue = &cpus[actor->entity.cpu].queue;
    return actor->entity.run_time +
           (queue->current == &actor->entity ? machine.now - queue->accounted : 0);
}

uint64_t machine_group_time(const struct run_group *group) {
    uint64_t time = group->usage;
    for (unsigned i = 0; i < machine.cpus; i++) {
        const struct run_queue *queue = &cpus[i].queue;
        const struct run_group *above = queue->current ? queue->current->group : NULL;
        while (above && above != group)
            above = above->parent;
        if (above)
            time += machine.now - queue->accounted;
    }
    return time;
}

uint64_t machine_idle(void) {
    uint64_t idle = machine.idle;
    for (unsigned i = 0; i < machine.cpus; i++)
        idle += cpus[i].current ? 0 : machine.now - cpus[i].idle_since;
    return idle;
}

// -- start --

void machine_make(unsigned count, unsigned actors) {
    machine_make_of(count, actors, 1, 1);
}

void machine_make_of(unsigned count, unsigned actors, unsigned threads, unsigned nodes) {
    free(machine.actor);
    machine = (struct machine){.cpus = count, .actors = actors};
    machine.actor = calloc(actors, sizeof *machine.actor);
    if (!machine.actor)
        abort();
    memset(&domain, 0, sizeof domain);
    heap_size = 0;
    seed = 1;
    for (unsigned i = 0; i < count; i++) {
        cpus[i] = (struct cpu){.armed = RUN_NEVER};
        run_queue_init(&cpus[i].queue, i);
        run_domain_join(&domain, &cpus[i].queue, i / threads, i * nodes / count);
    }
    for (unsigned i = 0; i < actors; i++) {
        run_entity_init(&machine.actor[i].entity);
        machine.actor[i].entity.node.random = i; // not its address: each run is the same
        machine.actor[i].work = machine.actor[i].sleep = RUN_NEVER;
        machine.actor[i].asleep = true;
    }
}

void machine_pair_cores(void) {
    static struct run_core core[RUN_CPUS / 2];
    for (unsigned i = 0; i < machine.cpus; i++) {
        if (i % 2 == 0)
            core[i / 2] = (struct run_core){0};
        run_core_join(&core[i / 2], &cpus[i].queue);
    }
}

void machine_start_actor(struct actor *actor, unsigned cpu) {
    actor->asleep = false;
    actor->left = actor->random ? 1 + machine_random() % (2 * actor->work) : actor->work;
    actor->ran_on = cpu;
    actor->entity.cpu = cpu;
    enqueue(actor, &cpus[cpu].queue, true);
}

void machine_start(void) {
    for (unsigned i = 0; i < machine.actors; i++)
        machine_start_actor(&machine.actor[i], machine_random() % machine.cpus);
}
