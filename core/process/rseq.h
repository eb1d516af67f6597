// SPDX-License-Identifier: BSD-2-Clause
// Restartable sequences, rseq(2): the CPU number in user memory, and critical sections that do not
// survive preemption.
#pragma once

struct thread;
struct trap_frame;

// The current thread came to another CPU: writes the number. May fault; no lock held.
void rseq_cpu_changed(struct thread *thread);
// The thread was preempted in user mode or gets a signal: a critical section it was in is aborted.
void rseq_abort(struct thread *thread, struct trap_frame *frame);
