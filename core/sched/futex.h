// SPDX-License-Identifier: BSD-2-Clause
// Futexes from inside the kernel: what a thread's end does to them.
#pragma once
#include <stdint.h>

struct thread;

// Wakes at most `count` waiters on the word at a user address of the current address space, private
// and shared ones.
void futex_wake(uint64_t address, unsigned count);
// The robust list and clear_child_tid of the current thread as it ends or execs
// (set_robust_list(2), set_tid_address(2)).
void futex_thread_exit(struct thread *thread);
