// SPDX-License-Identifier: BSD-2-Clause
// A process's timers that end in signals: timer_create, setitimer, alarm.
#pragma once

struct process;

void posix_timer_process_init(struct process *process);
// execve deletes timer_create's timers (alarm's stays); the end of the process all. The current
// process.
void posix_timer_process_exec(struct process *process);
void posix_timer_process_exit(struct process *process);
