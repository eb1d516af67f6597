// SPDX-License-Identifier: BSD-2-Clause
// Threads: what the scheduler runs. A vCPU is a thread inside ioctl(KVM_RUN).
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/context.h"
#include "arch/x86/cpu.h"
#include "core/list.h"
#include "core/mm/numa.h"
#include "core/sched/run_queue.h"
#include "core/sched/timer.h"
#include "core/process/signal.h"

struct landlock_layer;
#define TIMER_SLACK 50000u // ns, of the first thread, as in Linux

struct process;
struct address_space;

enum thread_state {
    THREAD_NEW, // not started yet: no context
    THREAD_READY,
    THREAD_RUNNING,
    THREAD_WAITING,
    THREAD_DEAD
};

// Looked at before a thread returns to user mode or enters a guest.
enum thread_work {
    THREAD_WORK_SIGNAL =
        1, // a signal may be deliverable, a mask is to be restored or a call to be restarted
    THREAD_WORK_EXIT = 2, // the process is ending: leave at the next safe point
    THREAD_WORK_STOP = 4, // the process is stopped: wait until it goes on
};

enum wake_reason { WAKE_EVENT, WAKE_TIMEOUT, WAKE_INTERRUPT };

struct thread {
    uintptr_t stack_pointer;  // saved kernel RSP while not running (context_switch)
    struct trap_frame *frame; // user registers, at the top of the kernel stack
    struct fpu_state
        *fpu; // what this thread's x87/SSE/AVX registers belong to now: user_fpu or a vCPU's
    struct fpu_state user_fpu;
    uint64_t fs_base, gs_base; // user's (gs_base lives in KERNEL_GS_BASE while in the kernel)
    uintptr_t kernel_stack;    // lowest address; 0: an idle thread, on its CPU's boot stack
    _Atomic uint32_t work;     // enum thread_work
    _Atomic uint32_t state;    // enum thread_state
    struct run_entity entity;  // place in a run queue
    uint64_t affinity[4];      // bit per CPU that the user wishes; entity.allowed is what holds
    struct timer wait_timer;
    uint64_t timer_slack, timer_slack_default; // PR_SET_TIMERSLACK, ns
    enum wake_reason wake_reason; // of the last wake-up, written under the run-queue lock
    bool uninterruptible;         // waits for an event that only SIGKILL may cut short
    atomic_uint references;       // one is the running thread's own
    unsigned tid;
    struct process *process;     // NULL: idle
    struct list process_node;    // in process->threads
    struct list table_node;      // in the table of tids
    struct signal_state signals; // mask and pending of this thread
    uint64_t clear_child_tid, robust_list;
    uint64_t rseq; // struct rseq in user memory; 0: none
    uint32_t rseq_signature;
    unsigned rseq_cpu;                // the number it shows
    bool restart;                     // the system call just made returned a restart code ...
    uint64_t restart_number;          // ... and was this one
    struct landlock_layer *landlock;  // what it may open (core/file/landlock.h); a reference
    bool reset_on_fork;               // SCHED_RESET_ON_FORK: what it makes is ordinary
    struct numa_policy memory_policy; // set_mempolicy(2)
    struct numa_policy fault_policy;  // of the mapping that a page is being made for ...
    uint64_t fault_index;             // ... and that page's index
    void (*start_entry)(void *argument);
    void *start_argument;
    char name[16];
};

// The same for as long as the caller runs, so the compiler may keep it.
static inline struct thread *thread_current(void) {
    struct thread *thread;
    __asm__("movq %%gs:%c1, %0" : "=r"(thread) : "i"(__builtin_offsetof(struct cpu, current)));
    return thread;
}

// Sets work bits, and makes the thread notice: wakes it from an interruptible wait or kicks its CPU
// out of user or guest mode.
void thread_interrupt(struct thread *thread, uint32_t work);
// True when the thread should stop what it does in the kernel: a deliverable signal or exit.
bool thread_interrupted(void);
// Takes pending interrupts and lets others run if the time slice is over. Called between chunks of
// long work, no lock held.
void thread_preemption_point(void);
// Set by timers and wake-ups on this CPU: schedule() before going back to user or guest. Cheap.
static inline bool thread_must_yield(void) {
    bool yield;
    __asm__ volatile("movb %%gs:%c1, %0"
                     : "=q"(yield)
                     : "i"(__builtin_offsetof(struct cpu, reschedule)));
    return yield;
}
// Switches to the best thread of this CPU. Current stays runnable unless WAITING or DEAD.
void schedule(void);
// Ends the current thread (exit(2)); the last one ends its process.
_Noreturn void thread_exit(int code);

// A thread with stack, frame (zero) and FPU state; not in any table or queue. NULL: no memory.
struct thread *thread_create(void);
void thread_get(struct thread *thread);
void thread_put(struct thread *thread); // the last reference frees the stack too
// Lets a new thread run entry(argument) on its kernel stack.
void thread_start(struct thread *thread, void (*entry)(void *argument), void *argument);
// The current thread's FPU registers as at power-on. 0 or -ENOMEM.
int thread_reset_fpu(void);
// Loads them from *fresh, which becomes the current thread's state.
void thread_replace_fpu(struct fpu_state *fresh);
// CPU time in ns, until now.
uint64_t thread_run_time(struct thread *thread);
