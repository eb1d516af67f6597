// SPDX-License-Identifier: BSD-2-Clause
// Signals: per-thread mask and pending set, per-process actions; delivery onto the user stack in Linux's frame layout.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct thread;
struct process;

struct signal_state {
    uint64_t blocked;         // bit (signal - 1)
    _Atomic uint64_t pending;
    uint64_t saved_blocked;   // to restore after ppoll/epoll_pwait/sigsuspend/KVM_RUN with a signal mask
    bool restore_blocked;
    uint64_t alternate_stack, alternate_size;
    uint32_t alternate_flags;
};

struct signal_action { // as the kernel's struct sigaction of x86-64
    uint64_t handler, flags, restorer, mask;
};

struct signal_info;
// To one thread (tgkill, faults) or to the process (kill, SIGCHLD). code: SI_*; value: address, pid or status as the signal has it. 0 or -errno.
int signal_send_thread(struct thread *thread, int signal, int code, uint64_t value);
int signal_send_process(struct process *process, int signal, int code, uint64_t value);
// Synchronous fault of the current thread: cannot be blocked; kills the process if it has no handler.
void signal_fault(int signal, int code, uint64_t address);
bool signal_deliverable(const struct thread *thread);
