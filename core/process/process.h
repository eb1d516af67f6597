// SPDX-License-Identifier: BSD-2-Clause
// Processes: an address space, an fd table, threads, signal actions, a parent to report to.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/list.h"
#include "core/mm/account.h"
#include "core/process/signal.h"
#include "core/sched/spinlock.h"
#include "core/sched/wait.h"

struct address_space;
struct fd_table;

struct process {
    atomic_uint references;
    unsigned pid;
    struct spinlock lock;             // threads, children, state
    struct list threads, children, sibling;
    struct process *parent;
    struct address_space *space;
    struct fd_table *files;
    struct signal_action actions[64];
    _Atomic uint64_t pending;         // process-wide signals
    struct wait_queue child_exited;
    int exit_status;                  // as wait4 reports it
    bool exiting, zombie;
    struct memory_account account;
    struct rlimit_value { uint64_t soft, hard; } limits[16];
    char working_directory[256];
    char executable[256];             // what /proc/self/exe names
    char name[16];
};

struct process *process_current(void);
void process_get(struct process *process);
void process_put(struct process *process);
// Starts pid 1 from the file at path with argv/envp; the console is fds 0, 1, 2. Called once, after the other CPUs are up. 0 or -errno.
int process_start_init(const char *path);
// Ends every thread of the current process; status as in wait4.
_Noreturn void process_exit(int status);
