// SPDX-License-Identifier: BSD-2-Clause
// Threads on CPUs: switching, waking, the timer behind the run queues, and the controls. Who runs
// and where is decided in run_queue.c and run_domain.c.
//
// A CPU's run-queue lock is held across context_switch and released by the thread switched to. So a
// waker, which takes the lock of the CPU the thread ran on last, never meets a thread that is half
// off its CPU.
#include <asm/errno.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "arch/x86/virt.h"
#include "core/log.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/process/process.h"
#include "core/process/rseq.h"
#include "core/sched/run_core.h"
#include "core/sched/run_domain.h"
#include "core/sched/scheduler.h"
#include "core/sched/spinlock.h"
#include "core/sched/wait.h"
#include "core/string.h"

struct scheduler_cpu {
    struct run_queue queue; // first: cpu->run_queue points here
    struct cpu *cpu;
    struct thread *current, *idle;
    struct thread *previous; // switched away from, for the one switched to
    struct timer timer;
    uint64_t armed;       // when the timer is to fire; RUN_NEVER: it is off
    uint64_t idle_since;  // 0: it does not idle
    struct run_core core; // that of the first CPU of a core is used
    struct scheduler_counts counts;
};

_Static_assert(RUN_CPUS == CPU_MAX, "a bit for each CPU");
_Static_assert(RUN_NODES >= NUMA_NODES, "a mask for each node");

static struct run_domain domain;

static struct scheduler_cpu *scheduler_of(struct cpu *cpu) {
    return (struct scheduler_cpu *)cpu->run_queue;
}

static struct thread *thread_of(struct run_entity *entity) {
    return container_of(entity, struct thread, entity);
}

static bool mask_has(const uint64_t mask[RUN_CPU_WORDS], unsigned cpu) {
    return mask[cpu / 64] >> cpu % 64 & 1;
}

static void request_reschedule(struct run_queue *queue) {
    struct cpu *cpu = cpu_at(queue->cpu);
    atomic_store(&cpu->reschedule, true);
    if (cpu != this_cpu())
        cpu_kick(cpu);
}

// The thread is READY, on no queue, and this caller's alone.
static void enqueue(struct thread *thread, bool created) {
    struct run_queue *here = this_cpu()->run_queue;
    struct run_queue *there = run_domain_place(&domain, &thread->entity, here, created);
    spin_lock(&there->lock);
    if (here->counted)
        run_queue_follow(there, here);
    bool reschedule = run_queue_add(there, &thread->entity, time_now());
    if (there == here && !created) // its waker, if it now sleeps, hands the CPU over to it
        run_queue_prefer(there, &thread->entity);
    spin_unlock(&there->lock);
    if (reschedule) // without the lock, which the other CPU takes at once
        request_reschedule(there);
}

bool scheduler_wake(struct thread *thread, enum wake_reason reason) {
    atomic_thread_fence(
        memory_order_seq_cst); // the caller's condition before the look at the state
    for (;;) {
        if (atomic_load(&thread->state) != THREAD_WAITING)
            return false;
        unsigned cpu = thread->entity.cpu;
        struct scheduler_cpu *there = scheduler_of(cpu_at(cpu));
        spin_lock(&there->queue.lock);
        // In this order: one that waited and was in this queue cannot have left it since, for that
        // takes the lock; one that came back from elsewhere shows another CPU.
        if (atomic_load(&thread->state) != THREAD_WAITING || thread->entity.cpu != cpu) {
            spin_unlock(&there->queue.lock);
            continue;
        }
        uint32_t expected = THREAD_WAITING;
        enum wake_reason before = thread->wake_reason;
        thread->wake_reason = reason; // seen by the thread with the state that follows
        bool woken = atomic_compare_exchange_strong(&thread->state, &expected, THREAD_READY);
        if (!woken)
            thread->wake_reason = before;
        bool off = woken && there->current != thread; // else schedule() finds it READY and keeps it
        spin_unlock(&there->queue.lock);
        if (off)
            enqueue(thread, false);
        return woken;
    }
}

// Locks the queue that the thread is in or was in last: it neither moves nor wakes then. It may be
// on the way from one to another, which others' code, not to be interrupted, ends soon.
static struct run_queue *lock_queue_of(struct thread *thread) {
    for (;;) {
        unsigned cpu = thread->entity.cpu;
        struct run_queue *queue = cpu_at(cpu)->run_queue;
        spin_lock(&queue->lock);
        bool on_the_way = thread->entity.place == RUN_NOWHERE && thread->state == THREAD_READY;
        if (thread->entity.cpu == cpu && !on_the_way)
            return queue;
        spin_unlock(&queue->lock);
        __builtin_ia32_pause();
    }
}

void scheduler_add(struct thread *thread) {
    struct run_queue *queue = lock_queue_of(thread);
    thread->state = THREAD_READY;
    spin_unlock(&queue->lock);
    enqueue(thread, true);
}

void thread_interrupt(struct thread *thread, uint32_t work) {
    atomic_fetch_or(&thread->work, work);
    if (work & THREAD_WORK_EXIT || !thread->uninterruptible)
        scheduler_wake(thread, WAKE_INTERRUPT);
    // A thread not on a CPU looks at its work before it leaves the kernel; one in user or guest
    // mode must be told.
    struct cpu *cpu = cpu_at(thread->entity.cpu);
    if (cpu != this_cpu() && scheduler_of(cpu)->current == thread)
        cpu_kick(cpu);
}

// Takes the thread that leaves the CPU off the queue, because it waits or ends, or because it must
// go to another CPU (READY but nowhere: scheduler_finish_switch hands it on). Lock held.
static void put_previous(struct scheduler_cpu *here, struct thread *thread, uint64_t now) {
    if (thread == here->idle)
        return;
    uint32_t state = atomic_load(&thread->state);
    bool stays = state != THREAD_WAITING && state != THREAD_DEAD;
    if (stays)
        thread->state = THREAD_READY;
    run_queue_charge(&here->queue, now);
    if (!stays || !mask_has(thread->entity.allowed, here->cpu->index))
        run_queue_remove(&here->queue, &thread->entity, now);
}

static __attribute__((noinline)) void kick_core(struct run_queue *queue) {
    queue->kick_core = false;
    for (unsigned i = 0; i < queue->core->count; i++) {
        struct cpu *cpu = cpu_at(queue->core->queues[i]->cpu);
        if (cpu == this_cpu())
            continue;
        atomic_store(&cpu->reschedule, true);
        cpu_interrupt(cpu); // our turn may have begun: to pause now would be to lose it
    }
}

static struct thread *pick_next(struct scheduler_cpu *here, uint64_t now) {
    struct run_entity *entity = run_queue_pick(&here->queue, now);
    struct thread *next = entity ? thread_of(entity) : here->idle;
    next->state = THREAD_RUNNING;
    if (here->queue.kick_core)
        kick_core(&here->queue);
    return next;
}

static void idle_changes(struct scheduler_cpu *here, uint64_t now) {
    bool idle = here->current == here->idle;
    run_domain_set_idle(&domain, here->cpu->index, idle && !here->queue.held);
    if (!idle)
        here->counts.idle += now - here->idle_since;
    here->idle_since = idle ? now : 0;
}

// A timer that fires too soon costs less than one that is moved at each switch.
static void arm(struct scheduler_cpu *here, uint64_t event) {
    if (event >= here->armed)
        return;
    here->armed = event;
    timer_start(&here->timer, event);
}

__attribute__((noinline)) void scheduler_finish_switch(void) {
    struct cpu *cpu = this_cpu();
    struct scheduler_cpu *here = scheduler_of(cpu);
    struct thread *previous = here->previous, *current = here->current;
    uint64_t event = run_queue_next_event(&here->queue);
    bool dead = atomic_load(&previous->state) == THREAD_DEAD;
    // One that was READY but not allowed here any more is on no queue: ours to hand on, after the
    // lock.
    bool homeless = atomic_load(&previous->state) == THREAD_READY &&
                    previous->entity.place == RUN_NOWHERE && previous != here->idle;
    here->previous = NULL;
    if (dead) // with the lock: change() may come later still
        run_domain_dismiss(&domain, &previous->entity);
    spin_unlock(&here->queue.lock);
    arm(here, event);
    // An idle CPU keeps the last space loaded: the next thread is likely to be of the same process.
    if (current->process && current->process->space != cpu->space)
        address_space_switch(current->process->space);
    if (homeless) {
        virt_leave_cpu();
        enqueue(previous, false);
    }
    if (dead)
        thread_put(previous);
    // Last: it may fault, and wait for a change of mappings that the previous thread has begun.
    cpu = this_cpu();
    if (current->rseq && current->rseq_cpu != cpu->index) {
        current->rseq_cpu = cpu->index;
        rseq_cpu_changed(current);
    }
}

__attribute__((noinline)) void schedule(void) {
    struct cpu *cpu = this_cpu();
    struct scheduler_cpu *here = scheduler_of(cpu);
    struct thread *previous = cpu->current;
    uint64_t now = time_now();
    cpu->reschedule = false;
    if (here->queue.queued == 0 &&
        (previous == here->idle || atomic_load(&previous->state) >= THREAD_WAITING))
        run_domain_pull(&domain, &here->queue, now);
    spin_lock(&here->queue.lock);
    cpu->reschedule = false; // who asked until here has added to the queue before: it is seen below
    put_previous(here, previous, now);
    struct thread *next = pick_next(here, now);
    if (next == previous) {
        uint64_t event = run_queue_next_event(&here->queue);
        spin_unlock(&here->queue.lock);
        arm(here, event);
        if (next == here->idle && !here->queue.held)
            run_domain_set_idle(&domain, cpu->index, true);
        return;
    }
    here->counts.switches++;
    here->current = next;
    here->previous = previous;
    cpu->current = next;
    if (next == here->idle || previous == here->idle)
        idle_changes(here, now);
    context_switch(previous, next);
    scheduler_finish_switch(); // perhaps on another CPU: nothing above is valid here
}

void scheduler_yield(void) {
    struct run_queue *here = this_cpu()->run_queue;
    spin_lock(&here->lock);
    run_queue_yield(here, time_now());
    spin_unlock(&here->lock);
    schedule();
}

void thread_preemption_point(void) {
    struct thread *thread = thread_current();
    // The slice timer, calls of other CPUs and devices get their turn here; their handlers never
    // switch threads.
    __asm__ volatile("sti; nop; cli" ::: "memory");
    // Between wait_prepare and wait the state is another: to schedule would be to sleep.
    if (thread_must_yield() && thread->process && thread->state == THREAD_RUNNING)
        schedule();
}

// The end of a slice, or of a budget or a park. Only a CPU on which threads wait has such events
// all the time, so it is the one to look for a better balance.
static void timer_expired(struct timer *timer) {
    struct scheduler_cpu *here = container_of(timer, struct scheduler_cpu, timer);
    uint64_t now = time_now();
    spin_lock(&here->queue.lock);
    uint64_t event = run_queue_next_event(&here->queue);
    spin_unlock(&here->queue.lock);
    here->armed = RUN_NEVER;
    if (event > now) {
        arm(here, event);
        return;
    }
    here->cpu->reschedule = true;
    struct run_queue *other =
        here->queue.queued ? run_domain_push(&domain, &here->queue, now) : NULL;
    if (other)
        request_reschedule(other);
}

void scheduler_online(uint64_t mask[RUN_CPU_WORDS]) {
    for (unsigned word = 0; word < RUN_CPU_WORDS; word++)
        mask[word] = atomic_load(&domain.online[word]);
}

void scheduler_counts(unsigned cpu, struct scheduler_counts *counts) {
    struct scheduler_cpu *there = scheduler_of(cpu_at(cpu));
    *counts = (struct scheduler_counts){0};
    if (!there)
        return;
    spin_lock(&there->queue.lock);
    run_queue_charge(&there->queue, time_now());
    *counts = there->counts;
    counts->guest = there->queue.guest_time;
    if (there->idle_since)
        counts->idle += time_now() - there->idle_since;
    spin_unlock(&there->queue.lock);
}

uint64_t thread_run_time(struct thread *thread) {
    if (thread == thread_current())
        return thread->entity.run_time + (time_now() - this_cpu()->run_queue->accounted);
    struct run_queue *queue = lock_queue_of(thread);
    run_queue_charge(queue, time_now());
    uint64_t time = thread->entity.run_time;
    spin_unlock(&queue->lock);
    return time;
}

void scheduler_charge(void) {
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
        struct run_queue *queue = cpu_at(cpu)->run_queue;
        if (!queue)
            continue;
        spin_lock(&queue->lock);
        run_queue_charge(queue, time_now());
        spin_unlock(&queue->lock);
    }
}

// -- controls --

// After `allowed` has changed: a queued one goes at once, a running one at its next schedule().
// Takes over the lock.
static void leave_forbidden(struct run_queue *queue, struct thread *thread) {
    bool forbidden = !mask_has(thread->entity.allowed, queue->cpu);
    uint8_t place = thread->entity.place;
    bool moves = forbidden && (place == RUN_QUEUED || place == RUN_PARKED);
    if (moves)
        run_queue_remove(queue, &thread->entity, time_now());
    spin_unlock(&queue->lock);
    if (place != RUN_NOWHERE)
        request_reschedule(queue);
    if (moves)
        enqueue(thread, false);
}

// The CPUs of the user's wish that the group has; if none, the group's. False: there is none up, or
// the wish must hold and cannot.
static bool allowed_cpus(const uint64_t wish[RUN_CPU_WORDS], const struct run_group *group,
                         uint64_t allowed[RUN_CPU_WORDS], bool must_hold) {
    uint64_t both = 0, all = 0, cpus[RUN_CPU_WORDS];
    for (unsigned word = 0; word < RUN_CPU_WORDS; word++) {
        cpus[word] = atomic_load(&domain.online[word]) & (group ? group->cpus[word] : UINT64_MAX);
        both |= cpus[word] & wish[word];
        all |= cpus[word];
    }
    for (unsigned word = 0; word < RUN_CPU_WORDS; word++)
        allowed[word] = both ? cpus[word] & wish[word] : cpus[word];
    return must_hold ? both : all;
}

// Policy, group and CPUs together, for a reservation holds on one CPU only. NULL: as they are,
// which others may change, and free a group left, until the queue is locked.
static int change(struct thread *thread, const struct run_policy *policy,
                  struct run_group *const *group, const uint64_t *wish) {
    struct run_queue *queue = lock_queue_of(thread);
    struct run_entity *entity = &thread->entity;
    struct run_policy wanted = policy ? *policy : entity->policy;
    struct run_group *to = group ? *group : entity->group;
    uint64_t allowed[RUN_CPU_WORDS];
    int error = -EINVAL;
    if (policy && thread->state == THREAD_DEAD) // nobody would give a reservation back
        error = -ESRCH;
    else if (allowed_cpus(wish ? wish : thread->affinity, to, allowed, wish))
        error = run_domain_admit(&domain, entity, &wanted, allowed);
    if (error) {
        spin_unlock(&queue->lock);
        return error;
    }
    run_queue_change(queue, entity, &wanted, to, time_now());
    if (wish)
        memcpy(thread->affinity, wish, sizeof thread->affinity);
    leave_forbidden(queue, thread);
    return 0;
}

int scheduler_set_policy(struct thread *thread, const struct run_policy *policy) {
    int error = run_policy_check(policy);
    return error ? error : change(thread, policy, NULL, NULL);
}

int scheduler_set_group(struct thread *thread, struct run_group *group) {
    return change(thread, NULL, &group, NULL);
}

int scheduler_update_cpus(struct thread *thread) {
    return change(thread, NULL, NULL, NULL);
}

int scheduler_set_affinity(struct thread *thread, const uint64_t mask[RUN_CPU_WORDS]) {
    return change(thread, NULL, NULL, mask);
}

int scheduler_set_bandwidth(struct run_group *group, uint64_t quota, uint64_t period) {
    int error = run_group_set_bandwidth(group, quota, period);
    for (unsigned cpu = 0; !error && cpu < cpu_count(); cpu++)
        if (cpu_at(cpu)->run_queue)
            request_reschedule(cpu_at(cpu)->run_queue);
    return error;
}

bool scheduler_yield_to(struct thread *thread) {
    struct run_queue *here = this_cpu()->run_queue, *there = lock_queue_of(thread);
    bool waits = thread->entity.place == RUN_QUEUED, moves = waits && there != here;
    if (moves && mask_has(thread->entity.allowed, here->cpu)) {
        // Fetched: it ran there before others that were there too, so its turn is here now.
        run_queue_remove(there, &thread->entity, time_now());
        spin_unlock(&there->lock);
        spin_lock(&here->lock);
        run_queue_add(here, &thread->entity, time_now());
        there = here;
    }
    if (waits && there == here) {
        run_queue_yield(here, time_now());
        here->next = &thread->entity;
    }
    spin_unlock(&there->lock);
    return waits && there == here;
}

// -- start --

int scheduler_cpu_init(struct cpu *cpu) {
    if (cpu->run_queue)
        return 0;
    struct scheduler_cpu *here = heap_new(struct scheduler_cpu);
    struct thread *idle = heap_new(struct thread);
    if (!here || !idle || timer_cpu_init(cpu)) {
        heap_free(here);
        heap_free(idle);
        return -ENOMEM;
    }
    idle->state = THREAD_RUNNING;
    idle->references = 1;
    run_entity_init(&idle->entity);
    idle->entity.cpu = cpu->index;
    idle->timer_slack = TIMER_SLACK;
    timer_init(&idle->wait_timer, thread_wait_expired);
    run_queue_init(&here->queue, cpu->index);
    timer_init(&here->timer, timer_expired);
    here->armed = RUN_NEVER;
    here->cpu = cpu;
    here->idle = here->current = idle;
    cpu->idle = cpu->current = idle;
    cpu->run_queue = &here->queue;
    return 0;
}

// -- core scheduling --

static struct run_core *core_of(unsigned cpu) {
    unsigned bits = cpu_thread_bits(), first = 0;
    while (cpu_at(first)->apic_id >> bits != cpu_at(cpu)->apic_id >> bits)
        first++;
    return &scheduler_of(cpu_at(first))->core;
}

// Before the first cookie: all that run now have none.
static void share_cores(void) {
    static struct spinlock lock;
    spin_lock(&lock);
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) {
        struct run_queue *queue = cpu_at(cpu)->run_queue;
        spin_lock(&queue->lock);
        if (!queue->core)
            run_core_join(core_of(cpu), queue);
        spin_unlock(&queue->lock);
    }
    spin_unlock(&lock);
}

uint64_t scheduler_new_cookie(void) {
    static _Atomic uint64_t last;
    share_cores();
    return atomic_fetch_add(&last, 1) + 1;
}

void scheduler_set_cookie(struct thread *thread, uint64_t cookie) {
    struct run_queue *queue = lock_queue_of(thread);
    thread->entity.cookie = cookie;
    if (thread->entity.place == RUN_CURRENT)
        request_reschedule(queue);
    spin_unlock(&queue->lock);
}

static bool separate;

int scheduler_separate_processes(void) {
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        if (scheduler_cpu_init(cpu_at(cpu)))
            return -ENOMEM;
    separate = true;
    return 0;
}

uint64_t scheduler_child_cookie(bool new_process) {
    return separate && new_process ? scheduler_new_cookie() : thread_current()->entity.cookie;
}

_Noreturn void scheduler_idle(void) {
    struct cpu *cpu = this_cpu(); // an idle thread never moves
    struct scheduler_cpu *here = scheduler_of(cpu);
    here->idle_since = time_now();
    run_domain_join(&domain, &here->queue, cpu->apic_id >> cpu_thread_bits(), cpu->node);
    for (;;) {
        bool waits = __atomic_load_n(&here->queue.queued, __ATOMIC_RELAXED) && !here->queue.held;
        if (cpu->reschedule || waits)
            schedule();
        else
            cpu_idle();
    }
}

_Noreturn void scheduler_cpu_start(void) {
    if (scheduler_cpu_init(this_cpu()))
        panic("no memory for CPU %u's scheduler", this_cpu()->index);
    scheduler_idle();
}
