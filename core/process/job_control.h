// SPDX-License-Identifier: BSD-2-Clause
// Process groups, stopping and continuing.
#pragma once
#include <stdbool.h>

struct process;
struct signal_info;

// Sends to the processes of a group that the current one may control (anyone's when the kernel
// sends: code SI_KERNEL), or with group 0 to all but pid 1 and the current one. Signal 0: just
// looks. 0, -ESRCH or -EPERM.
int process_group_signal(unsigned group, const struct signal_info *info);
bool process_group_exists(unsigned group);
// Whether nobody outside the group could continue the current process's group (POSIX: orphaned).
bool process_group_orphaned(void);
// The default action of a stop signal that was taken off the queue with this info.
void process_stop(const struct signal_info *info);
// Process lock held: lets a stopped process go on.
void process_continue(struct process *process);
// Keeps the current thread here while its process is stopped (THREAD_WORK_STOP).
void process_wait_continued(void);
