// SPDX-License-Identifier: BSD-2-Clause
// Hash tables of pids and tids; one number space for both, as in Linux.
#include <asm/errno.h>
#include <stddef.h>
#include "core/list.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/sched/thread.h"

#define ID_MAX     32768u
#define ID_BUCKETS 128u

struct spinlock process_table_lock;
static struct list threads[ID_BUCKETS], processes[ID_BUCKETS]; // next NULL: not used yet
static unsigned last_id, thread_total;

static struct list *bucket(struct list *table, unsigned id) {
    struct list *head = &table[id % ID_BUCKETS];
    if (!head->next)
        list_init(head);
    return head;
}

static struct thread *find_thread(unsigned tid) {
    struct list *head = bucket(threads, tid);
    list_for_each_entry(struct thread, thread, head, table_node) {
        if (thread->tid == tid)
            return thread;
    }
    return NULL;
}

static struct process *find_process(unsigned pid) {
    struct list *head = bucket(processes, pid);
    list_for_each_entry(struct process, process, head, table_node) {
        if (process->pid == pid)
            return process;
    }
    return NULL;
}

bool process_table_has_group(unsigned group, unsigned session) {
    for (unsigned i = 0; i < ID_BUCKETS; i++) {
        struct list *head = bucket(processes, i);
        list_for_each_entry(const struct process, process, head, table_node) {
            if (process->group == group && (!session || process->session == session))
                return true;
        }
    }
    return false;
}

static unsigned free_id(void) {
    for (unsigned tries = 0; tries < ID_MAX; tries++) {
        last_id = last_id + 1 < ID_MAX ? last_id + 1 : 2;
        if (!find_thread(last_id) && !find_process(last_id) && !process_table_has_group(last_id, 0))
            return last_id;
    }
    return 0;
}

int process_table_add(struct process *process, struct thread *thread, bool leader) {
    unsigned id = free_id();
    if (!id)
        return -EAGAIN;
    thread->tid = id;
    list_push_back(bucket(threads, id), &thread->table_node);
    thread_total++;
    if (leader) {
        process->pid = id;
        list_push_back(bucket(processes, id), &process->table_node);
    }
    return 0;
}

void process_table_remove_thread(struct thread *thread) {
    list_remove(&thread->table_node);
    thread_total--;
}

void process_table_remove_process(struct process *process) {
    list_remove(&process->table_node);
}

void process_table_rename_leader(struct thread *thread) {
    list_remove(&thread->table_node);
    thread->tid = thread->process->pid;
    list_push_back(bucket(threads, thread->tid), &thread->table_node);
}

struct thread *thread_find(unsigned tid) {
    spin_lock(&process_table_lock);
    struct thread *thread = find_thread(tid);
    if (thread)
        thread_get(thread);
    spin_unlock(&process_table_lock);
    return thread;
}

struct process *process_find(unsigned pid) {
    spin_lock(&process_table_lock);
    struct process *process = find_process(pid);
    if (process)
        process_get(process);
    spin_unlock(&process_table_lock);
    return process;
}

void process_for_each(void (*visit)(struct process *process, void *argument), void *argument) {
    spin_lock(&process_table_lock);
    for (unsigned i = 0; i < ID_BUCKETS; i++)
        list_for_each_safe(node, bucket(processes, i))
            visit(container_of(node, struct process, table_node), argument);
    spin_unlock(&process_table_lock);
}

unsigned process_table_count(void) {
    return __atomic_load_n(&thread_total, __ATOMIC_RELAXED);
}
