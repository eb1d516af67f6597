// SPDX-License-Identifier: BSD-2-Clause
// Who is in which control group, and moving there.
#include "core/process/cgroup.h"
#include <asm/errno.h>
#include <linux/sched.h>
#include "arch/x86/cpu.h"
#include "core/mm/heap.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

struct spinlock cgroup_lock;
struct cgroup cgroup_root = {
    .children = LIST_INIT(cgroup_root.children),
    .sibling = LIST_INIT(cgroup_root.sibling),
};

static void memory_released(struct memory_group *memory) {
    cgroup_put(container_of(memory, struct cgroup, memory));
}

struct cgroup *cgroup_create(struct cgroup *parent) {
    struct cgroup *cgroup = heap_new(struct cgroup);
    if (!cgroup)
        return NULL;
    cgroup->references = 1;
    cgroup->parent = parent;
    cgroup_get(parent);
    cgroup->depth = parent->depth + 1;
    list_init(&cgroup->children);
    list_init(&cgroup->sibling);
    bool top = parent == &cgroup_root;
    run_group_init(&cgroup->cpu, top ? NULL : &parent->cpu);
    memcpy(cgroup->cpu.cpus, parent->cpu.cpus, sizeof cgroup->cpu.cpus);
    cgroup->memory.parent = top ? NULL : &parent->memory;
    cgroup->memory.release = memory_released;
    return cgroup;
}

void cgroup_init(void) {
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++) // not all take part in scheduling yet
        cgroup_root.cpu.cpus[cpu / 64] |= 1ull << cpu % 64;
}

void cgroup_get(struct cgroup *cgroup) {
    if (cgroup->parent)
        atomic_fetch_add(&cgroup->references, 1);
}

void cgroup_put(struct cgroup *cgroup) {
    while (cgroup->parent && atomic_fetch_sub(&cgroup->references, 1) == 1) {
        struct cgroup *parent = cgroup->parent;
        heap_free(cgroup);
        cgroup = parent;
    }
}

struct cgroup *cgroup_of_thread(const struct thread *thread) {
    struct run_group *group = thread->entity.group;
    return group ? container_of(group, struct cgroup, cpu) : &cgroup_root;
}

struct cgroup *cgroup_of_process(const struct process *process) {
    struct memory_group *group = process->account->group;
    return group ? container_of(group, struct cgroup, memory) : &cgroup_root;
}

void cgroup_join(struct thread *thread) {
    struct cgroup *cgroup = cgroup_of_thread(thread_current());
    if (cgroup == &cgroup_root)
        return;
    cgroup_get(cgroup);
    if (scheduler_set_group(thread, &cgroup->cpu))
        cgroup_put(cgroup);
}

// Table lock held.
static void move(struct thread *thread, struct cgroup *cgroup) {
    struct cgroup *old = cgroup_of_thread(thread);
    if (old == cgroup)
        return;
    cgroup_get(cgroup);
    int error = scheduler_set_group(thread, cgroup == &cgroup_root ? NULL : &cgroup->cpu);
    cgroup_put(error ? cgroup : old);
}

// A reservation was admitted for the CPUs it had then.
static bool may_move(const struct thread *thread, const struct cgroup *cgroup) {
    return thread->entity.policy.policy != SCHED_DEADLINE ||
           !memcmp(cgroup->cpu.cpus, cgroup_of_thread(thread)->cpu.cpus, sizeof cgroup->cpu.cpus);
}

struct memory_account *cgroup_account(struct cgroup *cgroup, struct process *process) {
    cgroup_get(cgroup); // the account's
    return account_in_group(process->account, cgroup == &cgroup_root ? NULL : &cgroup->memory);
}

int cgroup_move_process(struct cgroup *cgroup, struct process *process,
                        struct memory_account **account) {
    int error = 0;
    spin_lock(&process_table_lock);
    spin_lock(&process->lock);
    if (process->exiting)
        error = -ESRCH;
    list_for_each(node,
                  &process->threads) if (!may_move(container_of(node, struct thread, process_node),
                                                   cgroup)) error = -EBUSY;
    if (!error) {
        struct memory_account *old = process->account;
        process->account = *account;
        *account = old;
        list_for_each(node, &process->threads)
            move(container_of(node, struct thread, process_node), cgroup);
    }
    spin_unlock(&process->lock);
    spin_unlock(&process_table_lock);
    return error;
}

int cgroup_move_thread(struct cgroup *cgroup, struct thread *thread) {
    struct cgroup *domain = cgroup;
    while (domain->threaded)
        domain = domain->parent;
    if (domain != cgroup_of_process(thread->process))
        return -EOPNOTSUPP;
    if (!may_move(thread, cgroup))
        return -EBUSY;
    spin_lock(&process_table_lock);
    move(thread, cgroup);
    spin_unlock(&process_table_lock);
    return 0;
}

struct search {
    const struct cgroup *cgroup;
    void (*visit)(struct thread *thread, void *argument);
    void *argument;
};

static void visit_threads(struct process *process, void *argument) {
    const struct search *search = argument;
    spin_lock(&process->lock);
    list_for_each_entry(struct thread, thread, &process->threads, process_node) {
        if (cgroup_of_thread(thread) == search->cgroup)
            search->visit(thread, search->argument);
    }
    spin_unlock(&process->lock);
}

void cgroup_for_each_thread(const struct cgroup *cgroup,
                            void (*visit)(struct thread *thread, void *argument), void *argument) {
    struct search search = {cgroup, visit, argument};
    process_for_each(visit_threads, &search);
}

static void count(struct thread *thread, void *argument) {
    ++*(unsigned *)argument;
}

bool cgroup_populated(const struct cgroup *cgroup) {
    unsigned members = 0;
    cgroup_for_each_thread(cgroup, count, &members);
    bool populated = members;
    list_for_each(node, &cgroup->children) populated =
        populated || cgroup_populated(container_of(node, struct cgroup, sibling));
    return populated;
}

static void update(struct thread *thread, void *argument) {
    scheduler_update_cpus(thread);
}

void cgroup_update_cpus(struct cgroup *cgroup) {
    uint64_t *effective = cgroup->cpu.cpus, any = 0;
    const uint64_t *above = cgroup->parent->cpu.cpus;
    for (unsigned word = 0; word < CPU_MAX / 64; word++)
        any |= cgroup->cpus[word] & above[word];
    for (unsigned word = 0; word < CPU_MAX / 64; word++)
        effective[word] = any ? cgroup->cpus[word] & above[word] : above[word];
    cgroup_for_each_thread(cgroup, update, NULL);
    list_for_each(node, &cgroup->children)
        cgroup_update_cpus(container_of(node, struct cgroup, sibling));
}
