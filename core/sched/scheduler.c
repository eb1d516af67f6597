// SPDX-License-Identifier: BSD-2-Clause
// Which thread runs on which CPU: placement at wake-up, switching, balancing by idle CPUs, time
// slices.
//
// A CPU's run-queue lock is held across context_switch and released by the thread switched to. So a
// waker, which takes the lock of the CPU the thread ran on last, never meets a thread that is half
// off its CPU.
#include <asm/errno.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "core/log.h"
#include "core/mm/address_space.h"
#include "core/mm/heap.h"
#include "core/process/process.h"
#include "core/process/rseq.h"
#include "core/sched/scheduler.h"
#include "core/sched/spinlock.h"
#include "core/sched/wait.h"

#define PULL_LOOKS  16      // queued threads looked at for one that may move
#define SLICE_LEAST 100000u // ns; a timer closer than this costs more than it gains

struct scheduler_cpu {
    struct run_queue queue; // first: cpu->run_queue points here
    struct spinlock lock;
    struct cpu *cpu;
    struct thread *current, *idle;
    struct thread *previous; // switched away from, for the one switched to
    struct timer slice_timer;
    uint64_t accounted; // time_now() up to which current has been charged
    uint64_t slice_end; // when to reschedule, 0: nobody else wants this CPU
};

static _Atomic uint64_t online_cpus[CPU_MAX / 64], idle_cpus[CPU_MAX / 64];

static struct scheduler_cpu *scheduler_of(struct cpu *cpu) {
    return (struct scheduler_cpu *)cpu->run_queue;
}

static struct thread *thread_of(struct run_entity *entity) {
    return container_of(entity, struct thread, entity);
}

static bool mask_has(const uint64_t mask[4], unsigned cpu) {
    return mask[cpu / 64] >> cpu % 64 & 1;
}

static void account_current(struct scheduler_cpu *here) {
    uint64_t now = time_now(), spent = now - here->accounted;
    here->accounted = now;
    if (here->current != here->idle && here->current->entity.counted)
        run_queue_account(&here->queue, &here->current->entity, spent);
}

static void request_reschedule(struct scheduler_cpu *there) {
    atomic_store(&there->cpu->reschedule, true);
    if (there->cpu != this_cpu())
        cpu_kick(there->cpu);
}

// An idle CPU of the mask; NULL: none.
static struct scheduler_cpu *find_idle(const uint64_t mask[4]) {
    for (unsigned word = 0; word < CPU_MAX / 64; word++) {
        uint64_t idle = atomic_load_explicit(&idle_cpus[word], memory_order_relaxed) & mask[word];
        if (idle)
            return scheduler_of(cpu_at(word * 64 + (unsigned)__builtin_ctzll(idle)));
    }
    return NULL;
}

// The CPU of the mask with the fewest runnable threads; if none of it is up, this one.
static struct scheduler_cpu *find_least_loaded(const uint64_t mask[4]) {
    struct scheduler_cpu *least = NULL;
    for (unsigned i = 0; i < cpu_count(); i++) {
        struct scheduler_cpu *there = scheduler_of(cpu_at(i));
        if (!there || !(atomic_load(&online_cpus[i / 64]) & mask[i / 64] & 1ull << i % 64))
            continue;
        if (!least || there->queue.counted < least->queue.counted)
            least = there;
    }
    return least ? least : scheduler_of(this_cpu());
}

// The CPU a thread is woken on: where it ran if that idles (its cache may be warm), else an idle
// one, else where it ran.
static struct scheduler_cpu *place(struct thread *thread) {
    unsigned last = (unsigned)thread->cpu;
    bool allowed =
        mask_has(thread->affinity, last) && (atomic_load(&online_cpus[last / 64]) >> last % 64 & 1);
    struct scheduler_cpu *there = scheduler_of(cpu_at(last));
    if (allowed && there->current == there->idle && there->queue.queued == 0)
        return there;
    struct scheduler_cpu *idle = find_idle(thread->affinity);
    if (idle)
        return idle;
    return allowed ? there : find_least_loaded(thread->affinity);
}

// The lock of `there` is held; the thread is READY, on no queue, and this caller's alone.
static void enqueue(struct scheduler_cpu *there, struct thread *thread) {
    thread->cpu = (int)there->cpu->index;
    account_current(there);
    if (!thread->ready_since)
        thread->ready_since = there->accounted;
    bool first = there->queue.queued == 0;
    run_queue_add(&there->queue, &thread->entity);
    // The first to queue behind a running thread makes it start its slice timer.
    if (first || there->current == there->idle ||
        run_queue_preempts(&there->queue, &thread->entity, &there->current->entity))
        request_reschedule(there);
}

static void enqueue_at(struct scheduler_cpu *there, struct thread *thread) {
    spin_lock(&there->lock);
    enqueue(there, thread);
    spin_unlock(&there->lock);
}

bool scheduler_wake(struct thread *thread, enum wake_reason reason) {
    atomic_thread_fence(
        memory_order_seq_cst); // the caller's condition before the look at the state
    for (;;) {
        if (atomic_load(&thread->state) != THREAD_WAITING)
            return false;
        int cpu = thread->cpu;
        struct scheduler_cpu *there = scheduler_of(cpu_at((unsigned)cpu));
        spin_lock(&there->lock);
        if (thread->cpu != cpu) {
            spin_unlock(&there->lock);
            continue;
        }
        uint32_t expected = THREAD_WAITING;
        enum wake_reason before = thread->wake_reason;
        thread->wake_reason = reason; // seen by the thread with the state that follows
        bool woken = atomic_compare_exchange_strong(&thread->state, &expected, THREAD_READY);
        if (!woken)
            thread->wake_reason = before;
        bool off = woken && there->current != thread; // else schedule() finds it READY and keeps it
        spin_unlock(&there->lock);
        if (off)
            enqueue_at(place(thread), thread);
        return woken;
    }
}

void thread_wake(struct thread *thread) {
    scheduler_wake(thread, WAKE_EVENT);
}

void scheduler_add(struct thread *thread) {
    thread->state = THREAD_READY;
    enqueue_at(find_least_loaded(thread->affinity), thread);
}

void thread_interrupt(struct thread *thread, uint32_t work) {
    atomic_fetch_or(&thread->work, work);
    if (work & THREAD_WORK_EXIT || !thread->uninterruptible)
        scheduler_wake(thread, WAKE_INTERRUPT);
    // A thread not on a CPU looks at its work before it leaves the kernel; one in user or guest
    // mode must be told.
    struct cpu *cpu = cpu_at((unsigned)thread->cpu);
    if (cpu != this_cpu() && scheduler_of(cpu)->current == thread)
        cpu_kick(cpu);
}

static bool movable(struct run_entity *entity, void *argument) {
    return mask_has(thread_of(entity)->affinity, *(unsigned *)argument);
}

// Fetches a thread that waits behind another on a busy CPU. No lock held.
static void pull(struct scheduler_cpu *here) {
    unsigned index = here->cpu->index, count = cpu_count();
    for (unsigned step = 1; step < count; step++) {
        struct scheduler_cpu *there = scheduler_of(cpu_at((index + step) % count));
        // One that idles is about to run what it has.
        if (!there || there->queue.queued == 0 || there->current == there->idle ||
            !spin_trylock(&there->lock))
            continue;
        struct run_entity *entity = run_queue_find(&there->queue, PULL_LOOKS, movable, &index);
        if (entity)
            run_queue_remove(&there->queue, entity);
        spin_unlock(&there->lock);
        if (entity) {
            spin_lock(&here->lock);
            enqueue(here, thread_of(entity));
            spin_unlock(&here->lock);
            return;
        }
    }
}

static void mark_idle(struct scheduler_cpu *here, bool idle) {
    uint64_t bit = 1ull << here->cpu->index % 64;
    if (idle)
        atomic_fetch_or(&idle_cpus[here->cpu->index / 64], bit);
    else
        atomic_fetch_and(&idle_cpus[here->cpu->index / 64], ~bit);
}

// Puts the thread that leaves the CPU back on the queue, or takes it off the averages: because it
// waits or ends, or because it must go to another CPU (READY but not counted:
// scheduler_finish_switch hands it on). Lock held.
static void put_previous(struct scheduler_cpu *here, struct thread *thread) {
    if (thread == here->idle)
        return;
    uint32_t state = atomic_load(&thread->state);
    bool stays = state != THREAD_WAITING && state != THREAD_DEAD;
    if (stays) {
        thread->state = THREAD_READY;
        thread->ready_since = here->accounted;
    }
    if (stays && mask_has(thread->affinity, here->cpu->index))
        run_queue_put(&here->queue, &thread->entity);
    else
        run_queue_remove(&here->queue, &thread->entity);
}

static struct thread *pick_next(struct scheduler_cpu *here) {
    struct run_entity *entity = run_queue_pick(&here->queue);
    struct thread *next = entity ? thread_of(entity) : here->idle;
    next->state = THREAD_RUNNING;
    if (entity)
        next->run_delay += here->accounted - next->ready_since;
    next->ready_since = 0;
    here->slice_end = 0;
    if (entity && here->queue.queued) {
        uint64_t left = run_queue_slice_left(entity);
        here->slice_end = here->accounted + (left < SLICE_LEAST ? SLICE_LEAST : left);
    }
    return next;
}

__attribute__((noinline)) void scheduler_finish_switch(void) {
    struct cpu *cpu = this_cpu();
    struct scheduler_cpu *here = scheduler_of(cpu);
    struct thread *previous = here->previous, *current = here->current;
    uint64_t slice_end = here->slice_end;
    bool dead = atomic_load(&previous->state) == THREAD_DEAD;
    // One that was READY but not allowed here any more is on no queue: ours to hand on, after the
    // lock.
    bool homeless = atomic_load(&previous->state) == THREAD_READY && !previous->entity.counted &&
                    previous != here->idle;
    here->previous = NULL;
    spin_unlock(&here->lock);
    if (slice_end)
        timer_start(&here->slice_timer, slice_end);
    // An idle CPU keeps the last space loaded: the next thread is likely to be of the same process.
    if (current->process && current->process->space != cpu->space)
        address_space_switch(current->process->space);
    if (current->rseq && current->rseq_cpu != cpu->index) {
        current->rseq_cpu = cpu->index;
        rseq_cpu_changed(current);
    }
    if (homeless)
        enqueue_at(find_least_loaded(previous->affinity), previous);
    if (dead)
        thread_put(previous);
}

__attribute__((noinline)) void schedule(void) {
    struct cpu *cpu = this_cpu();
    struct scheduler_cpu *here = scheduler_of(cpu);
    struct thread *previous = cpu->current;
    cpu->reschedule = false;
    if (here->queue.queued == 0 &&
        (previous == here->idle || atomic_load(&previous->state) >= THREAD_WAITING))
        pull(here);
    spin_lock(&here->lock);
    cpu->reschedule = false; // enqueue by pull set it; what comes later waits for the lock
    account_current(here);
    put_previous(here, previous);
    struct thread *next = pick_next(here);
    if (next == previous) {
        uint64_t slice_end = here->slice_end;
        spin_unlock(&here->lock);
        if (slice_end)
            timer_start(&here->slice_timer, slice_end);
        return;
    }
    if (next == here->idle || previous == here->idle)
        mark_idle(here, next == here->idle);
    here->current = next;
    here->previous = previous;
    cpu->current = next;
    context_switch(previous, next);
    scheduler_finish_switch(); // perhaps on another CPU: nothing above is valid here
}

void scheduler_yield(void) {
    struct scheduler_cpu *here = scheduler_of(this_cpu());
    spin_lock(&here->lock);
    account_current(here);
    run_queue_yield(&here->queue, &here->current->entity);
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

// Gives one waiting thread to a CPU that has at least two fewer.
static void push(struct scheduler_cpu *here) {
    static const uint64_t any[4] = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    struct scheduler_cpu *there = find_least_loaded(any);
    if (there->queue.counted + 1 >= here->queue.counted)
        return;
    spin_lock(&here->lock);
    struct run_entity *entity =
        run_queue_find(&here->queue, PULL_LOOKS, movable, &there->cpu->index);
    if (entity)
        run_queue_remove(&here->queue, entity);
    spin_unlock(&here->lock);
    if (entity)
        enqueue_at(there, thread_of(entity));
}

// Only a CPU with threads waiting has this tick, so it is the one to look for a better balance.
static void slice_expired(struct timer *timer) {
    struct scheduler_cpu *here = container_of(timer, struct scheduler_cpu, slice_timer);
    if (!here->queue.queued)
        return;
    here->cpu->reschedule = true;
    push(here);
}

int scheduler_set_affinity(struct thread *thread, const uint64_t mask[4]) {
    uint64_t allowed[4], all = 0;
    for (unsigned word = 0; word < 4; word++)
        all |= allowed[word] = mask[word] & atomic_load(&online_cpus[word]);
    if (!all)
        return -EINVAL;
    for (unsigned word = 0; word < 4; word++)
        thread->affinity[word] = allowed[word];
    struct scheduler_cpu *there = scheduler_of(cpu_at((unsigned)thread->cpu));
    if (!mask_has(allowed, there->cpu->index)) {
        if (thread == thread_current())
            schedule();
        else if (there->current == thread)
            request_reschedule(there);
        // else it moves when it next leaves a CPU
    }
    return 0;
}

void scheduler_online(uint64_t mask[4]) {
    for (unsigned word = 0; word < 4; word++)
        mask[word] = atomic_load(&online_cpus[word]);
}

uint64_t thread_run_time(struct thread *thread) {
    uint64_t time = thread->entity.run_time;
    if (thread == thread_current())
        time += time_now() - scheduler_of(this_cpu())->accounted;
    return time;
}

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
    idle->cpu = (int)cpu->index;
    idle->references = 1;
    run_entity_init(&idle->entity, RUN_WEIGHT_DEFAULT);
    timer_init(&idle->wait_timer, thread_wait_expired);
    run_queue_init(&here->queue);
    timer_init(&here->slice_timer, slice_expired);
    here->cpu = cpu;
    here->idle = here->current = idle;
    cpu->idle = cpu->current = idle;
    cpu->run_queue = &here->queue;
    return 0;
}

_Noreturn void scheduler_idle(void) {
    struct cpu *cpu = this_cpu(); // an idle thread never moves
    struct scheduler_cpu *here = scheduler_of(cpu);
    atomic_fetch_or(&online_cpus[cpu->index / 64], 1ull << cpu->index % 64);
    mark_idle(here, true);
    for (;;) {
        if (cpu->reschedule || __atomic_load_n(&here->queue.queued, __ATOMIC_RELAXED))
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
