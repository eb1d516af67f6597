// SPDX-License-Identifier: BSD-2-Clause
// Processes: an address space, an fd table, threads, signal actions, a parent to report to.
//
// The tree (parent, children, sibling, zombie) and the tables of pids and tids are under the
// process table's lock; threads, signals, state and timers of one process under its own.
#pragma once
#include <asm/resource.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/cpu.h"
#include "core/list.h"
#include "core/mm/account.h"
#include "core/process/signal.h"
#include "core/sched/spinlock.h"
#include "core/sched/thread.h"
#include "core/sched/timer.h"
#include "core/sched/wait.h"

struct address_space;
struct fd_table;

#define SYSTEM_CALL_LIMIT 512

struct rlimit_value {
    uint64_t soft, hard;
};

struct process {
    atomic_uint references;
    unsigned pid;
    unsigned group, session; // under the process table's lock
    struct spinlock lock;
    struct list threads, children, sibling;
    struct list table_node;
    unsigned thread_count; // in `threads`
    unsigned live_threads; // of these, not on their way out
    struct process *parent;
    struct address_space *space;
    struct fd_table *files;
    struct signal_action actions[64];
    struct signal_state signals; // what is pending for any thread
    unsigned signals_queued;     // entries of signal_queue in use
    struct wait_queue child_exited;
    struct wait_queue threads_changed; // execve waits here for the others to end
    struct wait_queue vfork_done;      // the parent of a vfork child waits here ...
    bool shares_space;                 // ... until this is false: it has exec'ed or ended
    unsigned exit_signal;              // sent to the parent at the end; 0: none
    int exit_status;                   // as wait4 reports it
    bool exiting, zombie;
    bool executed;               // by execve
    int stopped;                 // the stop signal it is stopped by; 0: it runs
    int stop_reported;           // the same until wait4 has told the parent
    bool continue_reported;      // it goes on, and wait4 may still tell that
    bool tell_continue;          // SIGCHLD for that is still to be sent
    uint64_t continues;          // SIGCONTs sent to it
    struct wait_queue signalled; // woken when a signal is pending; signalfd's poll waits here
    struct thread *executing;    // in execve: the one thread that stays
    uint64_t run_time, children_run_time; // ns of threads and children that have ended
    struct memory_account *account;       // shared with its parent unless that one has no limit
    struct rlimit_value limits[RLIM_NLIMITS];
    struct list posix_timers;
    unsigned timer_count; // in posix_timers
    unsigned next_timer;
    struct timer alarm;
    uint64_t alarm_interval;
    uint64_t missing_calls[SYSTEM_CALL_LIMIT / 64]; // bit per unknown call that has been logged
    char working_directory[256];
    char executable[256]; // what /proc/self/exe names
    char name[16];
};

// NULL on an idle thread.
static inline struct process *process_current(void) {
    return thread_current()->process;
}

void process_get(struct process *process);
void process_put(struct process *process);
// Starts pid 1 from the file at path with argv/envp; the console is fds 0, 1, 2. Called once, after
// the other CPUs are up. 0 or -errno.
int process_start_init(const char *path);
// CPU time of its threads, those that have ended included, in ns.
uint64_t process_run_time(struct process *process);
// Ends every thread of the current process; status as in wait4.
_Noreturn void process_exit(int status);

// The account for a child of parent (NULL: pid 1), with a reference. NULL: there are too many.
struct memory_account *process_account_for(const struct process *parent);
// Whether the current process may signal or change `target`: one of its own program, by account,
// or any if it is init. A program that is taken over reaches no other.
bool process_may_control(const struct process *target);
// A process without threads, space and files; a child of parent (NULL: pid 1). NULL: no memory.
struct process *process_create(struct process *parent);
// Puts a new thread into the process and into the table. -EAGAIN: no id left; -ESRCH: the process
// is ending.
int process_add_thread(struct process *process, struct thread *thread);
// Lets the process end with this status unless it already does: every thread gets THREAD_WORK_EXIT.
void process_begin_exit(struct process *process, int status);
// The vfork parent may go on: the space is shared no more.
void process_space_released(struct process *process);
// Gives the process another address space (execve, exit: NULL) and drops the old one. The current
// process only.
void process_replace_space(struct process *process, struct address_space *space);
// Ends all threads but the current one and gives it the pid as tid (execve). 0, or -EINTR when the
// process is being ended.
int process_become_single(void);
