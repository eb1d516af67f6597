// SPDX-License-Identifier: BSD-2-Clause
// Spinlocks, and the order in which they are taken. Interrupts are always off in the kernel, so a
// lock needs no interrupt state. No lock is held across wait(), a world switch, cpu_call() or a
// user copy.
//
// Order, outermost first (a lock may be taken while holding only locks above it):
//   control groups -> process table -> process (threads, children) -> signal state -> fd table ->
//   file objects (pipe, socket, epoll, ...)
//   -> vm (vcpus, memslots, irq, yield) -> IOMMU -> wait queue -> a device's line -> I/O APIC,
//   configuration space; wait queue -> address space -> vm mmu -> timer queue -> run queue (of the
//   lower CPU first) -> run group (child first) -> page/heap allocator -> log
#pragma once
#include <stdatomic.h>
#include <stdbool.h>

struct spinlock {
    atomic_uint next, serving; // ticket lock: fair between CPUs
};

static inline void spin_lock(struct spinlock *lock) {
    unsigned ticket = atomic_fetch_add_explicit(&lock->next, 1, memory_order_relaxed);
    while (atomic_load_explicit(&lock->serving, memory_order_acquire) != ticket)
        __builtin_ia32_pause();
}

static inline bool spin_trylock(struct spinlock *lock) {
    unsigned serving = atomic_load_explicit(&lock->serving, memory_order_acquire),
             expected = serving;
    return atomic_compare_exchange_strong_explicit(&lock->next, &expected, serving + 1,
                                                   memory_order_acquire, memory_order_relaxed);
}

static inline void spin_unlock(struct spinlock *lock) {
    atomic_fetch_add_explicit(&lock->serving, 1, memory_order_release);
}
