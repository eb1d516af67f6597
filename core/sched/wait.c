// SPDX-License-Identifier: BSD-2-Clause
// Wait queues, and a thread's way to sleep and back.
#include <asm/errno.h>
#include <linux/sched.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "core/sched/scheduler.h"
#include "core/sched/thread.h"
#include "core/sched/wait.h"

void wait_queue_init(struct wait_queue *queue) {
    *queue = (struct wait_queue){0};
    list_init(&queue->waiters);
}

void waiter_init(struct waiter *waiter) {
    *waiter = (struct waiter){.thread = thread_current()};
    list_init(&waiter->node);
}

void waiter_init_callback(struct waiter *waiter,
                          void (*wake)(struct waiter *waiter, unsigned events)) {
    *waiter = (struct waiter){.wake = wake};
    list_init(&waiter->node);
}

void waiter_add(struct waiter *waiter, struct wait_queue *queue) {
    if (waiter->queue)
        waiter_remove(waiter);
    if (waiter->thread)
        wait_prepare();
    spin_lock(&queue->lock);
    waiter->queue = queue;
    list_push_back(&queue->waiters, &waiter->node);
    spin_unlock(
        &queue->lock); // a locked instruction: the condition is read after the waiter can be seen
}

void waiter_remove(struct waiter *waiter) {
    struct wait_queue *queue = waiter->queue;
    if (!queue)
        return;
    spin_lock(&queue->lock);
    list_remove(&waiter->node);
    waiter->queue = NULL;
    spin_unlock(&queue->lock);
}

void wait_queue_wake_count(struct wait_queue *queue, unsigned events, unsigned count) {
    // Pairs with waiter_add: either the waker sees the waiter, or the waiter sees the condition.
    atomic_thread_fence(memory_order_seq_cst);
    if (__atomic_load_n(&queue->waiters.next, __ATOMIC_RELAXED) == &queue->waiters)
        return;
    spin_lock(&queue->lock);
    list_for_each_safe(node, &queue->waiters) {
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (waiter->wake) {
            waiter->wake(waiter, events);
        } else if (count && scheduler_wake(waiter->thread, WAKE_EVENT)) {
            count--;
        }
    }
    spin_unlock(&queue->lock);
}

void wait_queue_wake(struct wait_queue *queue, unsigned events) {
    wait_queue_wake_count(queue, events, UINT32_MAX);
}

void wait_prepare(void) {
    atomic_store(&thread_current()->state, THREAD_WAITING);
}

void wait_cancel(void) {
    atomic_store(&thread_current()->state, THREAD_RUNNING);
}

void thread_wait_expired(struct timer *timer) {
    scheduler_wake(container_of(timer, struct thread, wait_timer), WAKE_TIMEOUT);
}

// True when the thread was woken between its mark and now; takes the mark back either way.
static bool cancel_was_woken(struct thread *thread) {
    return atomic_exchange(&thread->state, THREAD_RUNNING) == THREAD_READY;
}

// An ordinary thread may be woken later, together with others: so short sleeps in turn leave time
// to others, and interrupts are fewer (PR_SET_TIMERSLACK, prctl(2)).
static void start_timer(struct thread *thread, uint64_t deadline) {
    const struct run_policy *policy = &thread->entity.policy;
    bool urgent = policy->priority || policy->policy == SCHED_DEADLINE;
    uint64_t slack = urgent ? 0 : thread->timer_slack;
    if (slack > TIME_NEVER - deadline)
        slack = TIME_NEVER - deadline;
    thread->wait_timer.slack = slack;
    timer_start(&thread->wait_timer, deadline + slack);
}

static int wait_marked(uint64_t deadline, bool interruptible) {
    static const int results[] = {
        [WAKE_EVENT] = 0, [WAKE_TIMEOUT] = -ETIMEDOUT, [WAKE_INTERRUPT] = -EINTR};
    struct thread *thread = thread_current();
    // After the mark: whoever interrupts from here on finds the thread WAITING and wakes it.
    bool interrupted = interruptible ? thread_interrupted() : thread->work & THREAD_WORK_EXIT;
    if (interrupted)
        return cancel_was_woken(thread) ? results[thread->wake_reason] : -EINTR;
    if (deadline != TIME_NEVER) {
        if (deadline <= time_now())
            return cancel_was_woken(thread) ? results[thread->wake_reason] : -ETIMEDOUT;
        start_timer(thread, deadline);
    }
    int result = 0;
    if (atomic_load(&thread->state) == THREAD_WAITING) {
        schedule();
        result = results[thread->wake_reason];
    } else if (cancel_was_woken(thread)) {
        result = results[thread->wake_reason];
    }
    if (deadline != TIME_NEVER)
        timer_stop(&thread->wait_timer);
    return result;
}

int wait(uint64_t deadline) {
    return wait_marked(deadline, true);
}

int wait_uninterruptible(uint64_t deadline) {
    struct thread *thread = thread_current();
    // The next mark, a locked instruction, orders the store of false before that wait's look at
    // `work`; so an interrupt of a later, interruptible wait cannot be held back by mistake.
    thread->uninterruptible = true;
    int error = wait_marked(deadline, false);
    thread->uninterruptible = false;
    // A signal may have come between the mark and here: a wake-up for nothing.
    return error == -EINTR && !(atomic_load(&thread->work) & THREAD_WORK_EXIT) ? 0 : error;
}
