// SPDX-License-Identifier: BSD-2-Clause
// Kernel stacks with guard pages. Freed ones stay mapped for the next thread, but not more than a
// few: to unmap one costs an interrupt on every CPU, so surplus ones go in batches.
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/mm/kernel_space.h"
#include "arch/x86/paging.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"

enum { KEPT = 16, BATCH = 32 };

// An address whose stack has been unmapped.
struct free_window {
    struct free_window *next;
    uintptr_t stack;
};

static struct {
    struct spinlock lock;
    uintptr_t stacks; // free and mapped: linked through their lowest word
    unsigned count;
    struct free_window *windows;
} pool;

static uintptr_t take_stack(unsigned keep) {
    spin_lock(&pool.lock);
    uintptr_t stack = pool.count > keep ? pool.stacks : 0;
    if (stack) {
        pool.stacks = *(uintptr_t *)stack;
        pool.count--;
    }
    spin_unlock(&pool.lock);
    return stack;
}

static void put_stack(uintptr_t stack) {
    spin_lock(&pool.lock);
    *(uintptr_t *)stack = pool.stacks;
    pool.stacks = stack;
    pool.count++;
    spin_unlock(&pool.lock);
}

static uintptr_t take_window(void) {
    spin_lock(&pool.lock);
    struct free_window *window = pool.windows;
    if (window)
        pool.windows = window->next;
    spin_unlock(&pool.lock);
    if (!window)
        return kernel_space_guarded_window(KERNEL_STACK_SIZE);
    uintptr_t stack = window->stack;
    heap_free(window);
    return stack;
}

static void put_window(struct free_window *window, uintptr_t stack) {
    window->stack = stack;
    spin_lock(&pool.lock);
    window->next = pool.windows;
    pool.windows = window;
    spin_unlock(&pool.lock);
}

static uintptr_t fill_window(uintptr_t window, uint64_t size) {
    uint64_t physical = page_alloc((unsigned)__builtin_ctzll(size >> PAGE_SHIFT));
    if (physical == PHYSICAL_NONE)
        return 0;
    if (!kernel_space_map(window, physical, size))
        return window;
    kernel_space_unmap(window, size); // never used, so in no TLB
    page_put(physical);
    return 0;
}

uintptr_t kernel_guarded_alloc(uint64_t size) {
    uintptr_t window = kernel_space_guarded_window(size);
    return window ? fill_window(window, size) : 0;
}

static uintptr_t make_stack(void) {
    // Made before it is needed, so that freeing needs no memory.
    struct free_window *window = heap_new(struct free_window);
    uintptr_t address = window ? take_window() : 0;
    uintptr_t stack = address ? fill_window(address, KERNEL_STACK_SIZE) : 0;
    if (address && !stack)
        put_window(window, address);
    else
        heap_free(window);
    return stack;
}

uintptr_t kernel_stack_alloc(void) {
    uintptr_t stack = take_stack(0);
    if (!stack)
        return make_stack();
    if (!page_recharge(kernel_space_translate(stack), account_of_caller()))
        return stack;
    put_stack(stack);
    return 0;
}

void kernel_stack_free(uintptr_t stack) {
    page_recharge(kernel_space_translate(stack), NULL);
    put_stack(stack);
}

struct unmapped {
    unsigned count;
    uintptr_t stack[BATCH];
    uint64_t physical[BATCH];
};

// The mappings are global: a CR3 load would not do.
static void forget(void *argument) {
    const struct unmapped *batch = argument;
    for (unsigned i = 0; i < batch->count; i++)
        for (uint64_t page = 0; page < KERNEL_STACK_SIZE; page += PAGE_SIZE)
            invalidate_page(batch->stack[i] + page);
}

static void forget_everywhere(struct unmapped *batch) {
    uint64_t cpus[CPU_MAX / 64] = {0};
    for (unsigned i = 0; i < cpu_count(); i++)
        cpus[i / 64] |= 1ull << i % 64;
    cpu_call(cpus, forget, batch);
}

static bool trim_batch(void) {
    struct unmapped batch = {0};
    struct free_window *windows[BATCH] = {NULL};
    while (batch.count < BATCH) {
        struct free_window *window = heap_new(struct free_window);
        uintptr_t stack = window ? take_stack(KEPT) : 0;
        if (!stack) {
            heap_free(window);
            break;
        }
        windows[batch.count] = window;
        batch.stack[batch.count] = stack;
        batch.physical[batch.count++] = kernel_space_unmap(stack, KERNEL_STACK_SIZE);
    }
    unsigned count = batch.count;
    if (count)
        forget_everywhere(&batch);
    for (unsigned i = 0; i < count; i++) {
        page_put(batch.physical[i]);
        put_window(windows[i], batch.stack[i]);
    }
    return count == BATCH;
}

void kernel_stack_trim(void) {
    while (pool.count > KEPT && trim_batch())
        continue;
}
