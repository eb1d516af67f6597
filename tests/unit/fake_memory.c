// SPDX-License-Identifier: BSD-2-Clause
// The machine under core/mm, for unit tests: the real page-table walker on fake RAM, and no second
// thread.
#include "tests/unit/fake_memory.h"
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include "arch/x86/mm/page_walker.h"
#include "arch/x86/paging.h"
#include "core/log.h"
#include "core/mm/address_space.h"
#include "core/mm/numa.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"
#include "core/sched/wait.h"

// Weak: another test may have its own in its own file.
#define FAKE __attribute__((weak))

FAKE uint64_t direct_map_base;
struct fake_flush fake_flush;

void fake_memory_start(void) {
    void *ram = aligned_alloc(2 << 20, FAKE_RAM_SIZE);
    if (!ram)
        abort();
    direct_map_base = (uintptr_t)ram;
    page_init(FAKE_RAM_SIZE, PAGE_SIZE);
    uint64_t free = PAGE_SIZE + page_array_size(FAKE_RAM_SIZE);
    page_add_free(free, FAKE_RAM_SIZE - free);
}

FAKE struct memory_account *fake_account;

FAKE struct memory_account *account_of_caller(void) {
    return fake_account;
}

FAKE struct numa_place fake_place = {0, UINT32_MAX};

FAKE struct numa_place numa_place_of_caller(void) {
    return fake_place;
}

FAKE void numa_fault_begin(struct numa_policy policy, uint64_t index) {
    (void)policy;
    (void)index;
}

FAKE void numa_fault_end(void) {
}

FAKE uint64_t page_table_create(void) {
    return page_alloc_zeroed(0);
}

FAKE void page_table_destroy(uint64_t root) {
    page_walker_free_tables(&host_format, root, 0, 255);
    page_put(root);
}

FAKE int page_table_map(uint64_t root, uint64_t address, uint64_t physical, uint64_t size,
                        unsigned flags) {
    return page_walker_map(&host_format, root, address, physical, size, flags);
}

FAKE struct page_table_entry page_table_lookup(uint64_t root, uint64_t address) {
    return page_walker_lookup(&host_format, root, address);
}

FAKE struct page_table_entry page_table_unmap(uint64_t root, uint64_t address) {
    return page_walker_unmap(&host_format, root, address);
}

FAKE uint64_t page_table_prune(uint64_t root, uint64_t address, uint64_t size) {
    uint64_t unhooked = 0;
    page_walker_prune(&host_format, root, address, size, &unhooked);
    return unhooked;
}

FAKE void page_table_release(uint64_t unhooked) {
    page_walker_release(unhooked);
}

FAKE void page_table_protect(uint64_t root, uint64_t address, unsigned flags) {
    page_walker_protect(&host_format, root, address, flags);
}

FAKE int page_table_split(uint64_t root, uint64_t address) {
    return page_walker_split(&host_format, root, address);
}

FAKE void tlb_flush(const uint64_t cpus[4], uint64_t address, uint64_t size) {
    (void)cpus;
    fake_flush.count++;
    fake_flush.address = address;
    fake_flush.size = size;
}

FAKE void address_space_leave(struct address_space *space) {
    for (unsigned i = 0; i < 4; i++)
        atomic_store(&space->cpus[i], 0);
}

unsigned fake_preemption_points;

FAKE void thread_preemption_point(void) {
    fake_preemption_points++;
}

FAKE void wait_queue_init(struct wait_queue *queue) {
    *queue = (struct wait_queue){0};
    list_init(&queue->waiters);
}

FAKE void wait_queue_wake(struct wait_queue *queue, unsigned events) {
    (void)queue;
    (void)events;
}

FAKE void waiter_init(struct waiter *waiter) {
    *waiter = (struct waiter){0};
}

FAKE void waiter_add(struct waiter *waiter, struct wait_queue *queue) {
    (void)waiter;
    (void)queue;
}

FAKE void waiter_remove(struct waiter *waiter) {
    (void)waiter;
}

int fake_wait_result;

// Every wait is in a loop that looks again, so giving way is enough.
FAKE int wait_uninterruptible(uint64_t deadline) {
    (void)deadline;
    sched_yield();
    return fake_wait_result;
}

FAKE void wait_cancel(void) {
}

FAKE void panic_at(const char *file, int line, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "panic: %s:%d: ", file, line);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    abort();
}
