// SPDX-License-Identifier: BSD-2-Clause
// A CPU's timer queue behind its one-shot hardware timer.
#include <asm/errno.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "core/mm/heap.h"
#include "core/sched/spinlock.h"
#include "core/sched/timer.h"
#include "core/sched/timer_heap.h"
#include "core/sched/wait.h"

// Expiries handled in one interrupt; more are left to the next, which comes soon.
#define EXPIRY_BATCH 64
// ns from the start, 36 years. In the hardware's ticks later deadlines may wrap into the past, and
// the interrupt would come back for ever; before it the queue looks again.
#define HORIZON (1ull << 60)
// ns that expiries which are due wait for the sake of others at most: the interrupt before may have
// taken long because an emulator was held up in its midst.
#define PAUSE_MOST 10000000u

struct timer_queue {
    struct spinlock lock;
    struct timer *root;
    uint64_t interrupts;             // so far
    uint64_t programmed;             // what the hardware is set to, 0 while timers expire; only
                                     // its own CPU writes it
    _Atomic(struct timer *) running; // whose `expired` runs now
};

int timer_cpu_init(struct cpu *cpu) {
    if (cpu->timers)
        return 0;
    struct timer_queue *queue = heap_new(struct timer_queue);
    if (!queue)
        return -ENOMEM;
    queue->programmed = TIME_NEVER;
    cpu->timers = queue;
    return 0;
}

void timer_init(struct timer *timer, void (*expired)(struct timer *timer)) {
    *timer = (struct timer){.expired = expired, .cpu = -1};
}

static void set_hardware(uint64_t deadline) {
    cpu_timer_set(deadline > HORIZON && deadline != TIME_NEVER ? HORIZON : deadline);
}

// Takes the timer off whatever queue it is on. True if it was on one.
static bool take_off(struct timer *timer) {
    for (;;) {
        int cpu = timer->cpu;
        if (cpu < 0)
            return false;
        struct timer_queue *queue = cpu_at((unsigned)cpu)->timers;
        spin_lock(&queue->lock);
        bool here = timer->cpu == cpu;
        if (here) {
            queue->root = timer_heap_remove(queue->root, timer);
            timer->cpu = -1;
        }
        spin_unlock(&queue->lock);
        if (here)
            return true;
    }
}

void timer_start(struct timer *timer, uint64_t deadline) {
    // Two starts at once, here and by an expiry on another CPU say, would put it on two queues.
    struct cpu *cpu = this_cpu();
    struct timer_queue *queue = cpu->timers;
    spin_lock(&timer->lock);
    if (timer->stopping && atomic_load_explicit(&queue->running, memory_order_relaxed) == timer) {
        spin_unlock(&timer->lock);
        return;
    }
    take_off(timer);
    spin_lock(&queue->lock);
    timer->deadline = deadline;
    queue->root = timer_heap_insert(queue->root, timer);
    timer->cpu = (int)cpu->index;
    bool sooner = deadline < queue->programmed;
    if (sooner)
        queue->programmed = deadline;
    spin_unlock(&queue->lock);
    spin_unlock(&timer->lock);
    if (sooner)
        set_hardware(deadline);
}

static void wait_for_expiry(const struct timer *timer) {
    for (unsigned i = 0; i < cpu_count(); i++) {
        struct timer_queue *queue = cpu_at(i)->timers;
        if (queue && i != this_cpu()->index)
            while (atomic_load_explicit(&queue->running, memory_order_acquire) == timer)
                __builtin_ia32_pause();
    }
}

// That an expiry under way does not arm it again is what makes one look at each CPU enough: one
// that is due again at once would be off its queue, and not yet or no more running, whenever looked
// at.
bool timer_stop(struct timer *timer) {
    spin_lock(&timer->lock);
    timer->stopping = true;
    bool armed = take_off(timer);
    spin_unlock(&timer->lock);
    // The hardware stays as it is: an early interrupt finds nothing due and sets it anew.
    wait_for_expiry(timer);
    atomic_store_explicit(&timer->stopping, false, memory_order_relaxed);
    return armed;
}

void timer_interrupt(void) {
    struct timer_queue *queue = this_cpu()->timers;
    uint64_t begin = time_now();
    queue->interrupts++;
    queue->programmed = 0;
    for (unsigned batch = 0; batch < EXPIRY_BATCH; batch++) {
        spin_lock(&queue->lock);
        struct timer *timer = queue->root;
        if (!timer || timer->deadline - timer->slack > time_now()) {
            spin_unlock(&queue->lock);
            break;
        }
        queue->root = timer_heap_remove(queue->root, timer);
        // First the mark, then off the queue: timer_stop, which sees it off the queue, then waits
        // for the mark to go.
        atomic_store(&queue->running, timer);
        atomic_store(&timer->cpu, -1);
        spin_unlock(&queue->lock);
        timer->expired(timer);
        atomic_store_explicit(&queue->running, NULL, memory_order_release);
    }
    spin_lock(&queue->lock);
    uint64_t deadline = queue->root ? queue->root->deadline : TIME_NEVER, now = time_now();
    // What is due again waits for as long as this took: whatever expires how often, half of the
    // time is left for the others.
    if (deadline <= now)
        deadline = now + (now - begin < PAUSE_MOST ? now - begin : PAUSE_MOST);
    queue->programmed = deadline;
    spin_unlock(&queue->lock);
    set_hardware(deadline);
}

uint64_t timer_interrupts(const struct cpu *cpu) {
    return cpu->timers ? __atomic_load_n(&cpu->timers->interrupts, __ATOMIC_RELAXED) : 0;
}
