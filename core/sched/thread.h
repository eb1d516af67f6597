// SPDX-License-Identifier: BSD-2-Clause
// Threads: what the scheduler runs. A vCPU is a thread inside ioctl(KVM_RUN).
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/context.h"
#include "core/list.h"
#include "core/sched/run_queue.h"
#include "core/sched/timer.h"
#include "core/process/signal.h"

struct process;
struct address_space;

enum thread_state { THREAD_READY, THREAD_RUNNING, THREAD_WAITING, THREAD_DEAD };

// Looked at before a thread returns to user mode or enters a guest.
enum thread_work {
    THREAD_WORK_SIGNAL = 1, // a signal may be deliverable
    THREAD_WORK_EXIT = 2,   // the process is ending: leave at the next safe point
};

struct thread {
    uintptr_t stack_pointer;      // saved kernel RSP while not running (context_switch)
    struct trap_frame *frame;     // user registers, at the top of the kernel stack
    struct fpu_state *fpu;        // what this thread's x87/SSE/AVX registers belong to now: user_fpu or a vCPU's
    struct fpu_state user_fpu;
    uint64_t fs_base, gs_base;    // user's (gs_base lives in KERNEL_GS_BASE while in the kernel)
    uintptr_t kernel_stack;       // lowest address
    _Atomic uint32_t work;        // enum thread_work
    _Atomic uint32_t state;       // enum thread_state
    struct run_entity entity;     // place in a run queue
    int cpu;                      // where it runs or ran last
    uint64_t affinity[4];         // bit per CPU
    struct timer wait_timer;
    unsigned tid;
    struct process *process;
    struct list process_node;     // in process->threads
    struct signal_state signals;  // mask and pending of this thread
    uint64_t clear_child_tid, robust_list;
    struct thread *vfork_parent;
    char name[16];
};

struct thread *thread_current(void);
// Makes a WAITING thread READY and gives it to a run queue; kicks that CPU if need be. Any context. Harmless otherwise.
void thread_wake(struct thread *thread);
// Sets work bits, and makes the thread notice: wakes it from an interruptible wait or kicks its CPU out of user or guest mode.
void thread_interrupt(struct thread *thread, uint32_t work);
// True when the thread should stop what it does in the kernel: a deliverable signal or exit.
bool thread_interrupted(void);
// Lets others run if the time slice is over (or another CPU's call waits). Called between chunks of long work, no lock held.
void thread_preemption_point(void);
// Set by timers and wake-ups on this CPU: schedule() before going back to user or guest. Cheap.
bool thread_must_yield(void);
// Switches to the best thread of this CPU. Current stays runnable unless WAITING or DEAD.
void schedule(void);
// On the way to user mode or guest: handles yield and exit; returns false if signal delivery is wanted (vCPU loop: leave with -EINTR).
_Noreturn void thread_exit(int code);
