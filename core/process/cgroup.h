// SPDX-License-Identifier: BSD-2-Clause
// Control groups, as Linux's cgroup v2: a tree in which each process, with its threads, has a place
// that says what share of the CPUs it has and how much memory.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "core/list.h"
#include "core/mm/account.h"
#include "core/sched/run_group.h"
#include "core/sched/spinlock.h"

struct node;
struct process;
struct thread;

enum { CGROUP_CPUSET = 1, CGROUP_CPU = 2, CGROUP_MEMORY = 4, CGROUP_CONTROLLERS = 7 };
enum { CGROUP_DEPTH = 16 }; // below the root

struct cgroup {
    // Directory and files, child groups, members, accounts. The root's are not counted.
    atomic_uint references;
    struct cgroup *parent; // with a reference; NULL: the root
    unsigned depth;
    struct list children, sibling;
    struct node *directory; // while it has a name
    struct run_group cpu;
    struct memory_group memory;
    uint64_t cpus[4]; // cpuset.cpus; nothing set: all of the parent's
    unsigned enabled; // cgroup.subtree_control: CGROUP_*
    bool threaded;    // holds threads of processes that live above
    bool removed;
};

extern struct cgroup cgroup_root;
// The tree and every setting in it. Outermost: the process table's lock may be taken while it is
// held.
extern struct spinlock cgroup_lock;

void cgroup_init(void);
// A group below parent, with a reference and no place in the tree yet. NULL: no memory.
struct cgroup *cgroup_create(struct cgroup *parent);
void cgroup_get(struct cgroup *cgroup);
void cgroup_put(struct cgroup *cgroup);

struct cgroup *cgroup_of_thread(const struct thread *thread);
struct cgroup *cgroup_of_process(const struct process *process); // never a threaded one
// A new thread joins the group of the thread that makes it. Process table lock held.
void cgroup_join(struct thread *thread);

// The account that a process needs in a group, with a reference; NULL: there are too many. May take
// long: no lock held.
struct memory_account *cgroup_account(struct cgroup *cgroup, struct process *process);
// cgroup_lock held. All threads of a process, and the memory it takes from now on; *account
// (cgroup_account) is exchanged for the one it had. 0, -EBUSY: a reservation (SCHED_DEADLINE) does
// not go with the group's CPUs, -ESRCH: it has ended.
int cgroup_move_process(struct cgroup *cgroup, struct process *process,
                        struct memory_account **account);
// One thread, into a threaded group. 0, -EBUSY, or -EOPNOTSUPP: its process lives elsewhere.
int cgroup_move_thread(struct cgroup *cgroup, struct thread *thread);
// After cgroup->cpus or a parent's has changed: the effective CPUs of it and of all below.
void cgroup_update_cpus(struct cgroup *cgroup);
// Whether it or one below has a member.
bool cgroup_populated(const struct cgroup *cgroup);
// Calls visit for each thread in the group itself, with the process table's lock held.
void cgroup_for_each_thread(const struct cgroup *cgroup,
                            void (*visit)(struct thread *thread, void *argument), void *argument);
