// SPDX-License-Identifier: BSD-2-Clause
// Making and freeing threads: control block, kernel stack, FPU state.
#include <asm/errno.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "core/file/landlock.h"
#include "core/mm/heap.h"
#include "core/process/cgroup.h"
#include "core/process/process.h"
#include "core/process/signal_queue.h"
#include "core/sched/scheduler.h"
#include "core/sched/thread.h"

struct thread *thread_create(void) {
    struct thread *thread = heap_new(struct thread);
    if (!thread)
        return NULL;
    if (fpu_state_init(&thread->user_fpu)) {
        heap_free(thread);
        return NULL;
    }
    thread->kernel_stack = kernel_stack_alloc();
    if (!thread->kernel_stack) {
        fpu_state_destroy(&thread->user_fpu);
        heap_free(thread);
        return NULL;
    }
    thread->fpu = &thread->user_fpu;
    thread->frame = (struct trap_frame *)(thread->kernel_stack + KERNEL_STACK_SIZE) - 1;
    *thread->frame = (struct trap_frame){0};
    thread->state = THREAD_NEW;
    thread->references = 1;
    for (unsigned word = 0; word < CPU_MAX / 64; word++)
        thread->affinity[word] = UINT64_MAX;
    run_entity_init(&thread->entity);
    thread->entity.cpu = this_cpu()->index;
    timer_init(&thread->wait_timer, thread_wait_expired);
    thread->memory_policy = thread_current()->memory_policy;
    thread->timer_slack = thread->timer_slack_default = thread_current()->timer_slack;
    list_init(&thread->process_node);
    list_init(&thread->table_node);
    signal_state_init(&thread->signals);
    return thread;
}

void thread_get(struct thread *thread) {
    atomic_fetch_add(&thread->references, 1);
}

void thread_put(struct thread *thread) {
    if (atomic_fetch_sub(&thread->references, 1) != 1)
        return;
    cgroup_put(cgroup_of_thread(thread));
    landlock_put(thread->landlock);
    if (thread->process) {
        signal_queue_flush(&thread->signals, thread->process);
        process_put(thread->process);
    }
    kernel_stack_free(thread->kernel_stack);
    fpu_state_destroy(&thread->user_fpu);
    heap_free(thread);
}

void thread_replace_fpu(struct fpu_state *fresh) {
    struct thread *thread = thread_current();
    fpu_switch(NULL, fresh);
    fpu_state_destroy(&thread->user_fpu);
    thread->user_fpu = *fresh;
    thread->fpu = &thread->user_fpu;
}

int thread_reset_fpu(void) {
    struct fpu_state fresh;
    if (fpu_state_init(&fresh))
        return -ENOMEM;
    thread_replace_fpu(&fresh);
    return 0;
}

static void first_run(void *argument) {
    struct thread *thread = argument;
    scheduler_finish_switch();
    thread->start_entry(thread->start_argument);
}

void thread_start(struct thread *thread, void (*entry)(void *argument), void *argument) {
    thread->start_entry = entry;
    thread->start_argument = argument;
    context_prepare(thread, first_run, thread);
    scheduler_add(thread);
}
