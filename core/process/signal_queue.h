// SPDX-License-Identifier: BSD-2-Clause
// Pending signals with their siginfo: sending, choosing a thread, taking off.
#pragma once
#include <asm/siginfo.h>
#include <asm/signal.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/process/signal.h"

struct signal_info {
    int signal, code;
    uint32_t pid, uid; // sender or child; SI_TIMER: timer id and overrun
    int status;        // SIGCHLD
    uint64_t value;    // fault address, or sigval
    uint64_t run_time; // SIGCHLD: ns
};

// To one thread (tgkill, faults) or to the process (kill, SIGCHLD). 0 or -errno. No lock held but
// the process table's.
int signal_queue_thread(struct thread *thread, const struct signal_info *info);
int signal_queue_process(struct process *process, const struct signal_info *info);
// Takes the next of `set` that is pending for the current thread. False: none. Process lock not
// held.
bool signal_dequeue(uint64_t set, struct signal_info *info);
// Drops everything pending. process: whose lock to take and count to lower; NULL when it is gone.
void signal_queue_flush(struct signal_state *state, struct process *process);
// Process lock held: signals for the whole process that `leaving` was to take are offered to the
// other threads.
void signal_retarget(struct process *process, const struct signal_state *leaving);
// What sigaction changed: pending signals that are ignored now go away.
void signal_drop_ignored(struct process *process, int signal);
void signal_info_to_user(const struct signal_info *info, siginfo_t *out);
// Default action is to do nothing.
bool signal_ignored_by_default(int signal);
bool signal_stops(int signal); // it is to stop the process
const char *signal_name(int signal);
