// SPDX-License-Identifier: BSD-2-Clause
// Waiting: the one place where a thread blocks. Use:
//     struct waiter waiter;
//     waiter_init(&waiter);
//     for (;;) {
//         waiter_add(&waiter, &queue);           // also marks the thread as about to wait
//         if (condition) break;
//         error = wait(deadline);                // -EINTR, -ETIMEDOUT or 0
//         waiter_remove(&waiter);
//         if (error) break;
//     }
//     waiter_remove(&waiter);                    // and wait_cancel() when leaving without wait()
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/list.h"
#include "core/sched/spinlock.h"

#define TIME_NEVER UINT64_MAX

struct thread;

struct wait_queue {
    struct spinlock lock;
    struct list waiters;
};

struct waiter {
    struct list node;
    struct wait_queue *queue; // NULL: on none
    struct thread *thread;
    // Called under the queue's lock by wait_queue_wake. NULL wakes `thread`. epoll and irqfd have
    // their own. `events`: EPOLL* mask.
    void (*wake)(struct waiter *waiter, unsigned events);
};

void wait_queue_init(struct wait_queue *queue);
void waiter_init(struct waiter *waiter);
void waiter_init_callback(struct waiter *waiter,
                          void (*wake)(struct waiter *waiter, unsigned events));
void waiter_add(struct waiter *waiter, struct wait_queue *queue);
void waiter_remove(struct waiter *waiter); // harmless when not added
// Wakes every waiter (or at most `count` threads) with the ready events. Cheap when there is none.
void wait_queue_wake(struct wait_queue *queue, unsigned events);
void wait_queue_wake_count(struct wait_queue *queue, unsigned events, unsigned count);

// Blocks until a wake-up, a signal (-EINTR) or time_now() >= deadline (-ETIMEDOUT). Returns 0 at
// once if woken since waiter_add / wait_prepare. Holds nothing. A wake-up that came first wins over
// signal and deadline: none is lost.
int wait(uint64_t deadline);
int wait_uninterruptible(uint64_t deadline); // only SIGKILL interrupts
// Blocks until ready(object), called without locks, is true. how: `wait` or `wait_uninterruptible`.
// 0, or the error that ended the wait.
int wait_until(struct wait_queue *queue, bool (*ready)(void *object), void *object,
               uint64_t deadline, int (*how)(uint64_t deadline));
void wait_prepare(void); // marks the current thread as about to wait
void wait_cancel(void);  // takes the mark back
