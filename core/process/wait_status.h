// SPDX-License-Identifier: BSD-2-Clause
// How a child's end is reported: SIGCHLD's siginfo, wait4's and waitid's answer.
#pragma once
#include "core/process/signal_queue.h"

struct process;

// siginfo of SIGCHLD (signal as given) for a process that has ended.
struct signal_info wait_status_info(const struct process *process, unsigned signal);
