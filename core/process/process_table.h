// SPDX-License-Identifier: BSD-2-Clause
// Every process and thread by number, and the lock of the process tree.
#pragma once
#include <stdbool.h>
#include "core/sched/spinlock.h"

struct process;
struct thread;

extern struct spinlock process_table_lock;

// Lock held: gives the thread the next free number (the process's pid if it is the first of its
// process). -EAGAIN: none left.
int process_table_add(struct process *process, struct thread *thread, bool leader);
// Lock held: whether a process is in this group (of this session; 0: of any).
bool process_table_has_group(unsigned group, unsigned session);
void process_table_remove_thread(struct thread *thread);
void process_table_remove_process(struct process *process);
// Lock held: the thread takes over the number of its process.
void process_table_rename_leader(struct thread *thread);
// With a reference, or NULL. Lock not held.
struct thread *thread_find(unsigned tid);
struct process *process_find(unsigned pid);
// Calls visit with the lock held, for every process.
void process_for_each(void (*visit)(struct process *process, void *argument), void *argument);
unsigned process_table_count(void); // threads alive
