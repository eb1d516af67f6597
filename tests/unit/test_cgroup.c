// SPDX-License-Identifier: BSD-2-Clause
// The tree of control groups: directories, settings, moving processes and threads.
// Sources: tests/unit/fake_memory.c tests/unit/fake_process.c core/file/cgroup.c core/file/root.c
// Sources: core/file/cgroup_settings.c
// Sources: core/process/cgroup.c core/file/text_file.c core/sched/run_group.c
// Sources: core/sched/run_policy.c core/mm/account.c
#include "core/process/cgroup.h"
#include <check.h>
#include <errno.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "core/file/file.h"
#include "core/file/node.h"
#include "core/file/text_file.h"
#include "core/mm/page.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/sched/scheduler.h"
#include "tests/unit/fake_process.h"

// Two processes, the first (that of the caller) with a second thread.
static struct process *process[2];
static struct process other;
static struct thread *thread[3];
static struct thread spare[2];
static char text[4096];

struct spinlock process_table_lock;

void process_for_each(void (*visit)(struct process *process, void *argument), void *argument) {
    for (unsigned i = 0; i < 2; i++)
        visit(process[i], argument);
}

struct process *process_find(unsigned pid) {
    for (unsigned i = 0; i < 2; i++)
        if (process[i]->pid == pid)
            return process[i];
    return NULL;
}

struct thread *thread_find(unsigned tid) {
    for (unsigned i = 0; i < 3; i++)
        if (thread[i]->tid == tid)
            return thread[i];
    return NULL;
}

void process_put(struct process *put) {
    (void)put;
}

void thread_put(struct thread *put) {
    (void)put;
}

bool process_may_control(const struct process *target) {
    return target->pid != 1;
}

unsigned cpu_count(void) {
    return 4;
}

int scheduler_set_group(struct thread *moved, struct run_group *group) {
    moved->entity.group = group;
    return 0;
}

static unsigned updates;

int scheduler_update_cpus(struct thread *updated) {
    (void)updated;
    updates++;
    return 0;
}

int scheduler_set_bandwidth(struct run_group *group, uint64_t quota, uint64_t period) {
    return run_group_set_bandwidth(group, quota, period);
}

void scheduler_charge(void) {
}

void scheduler_counts(unsigned cpu, struct scheduler_counts *counts) {
    (void)cpu;
    counts->idle = 0;
}

static void start(void) {
    process[0] = fake_process_start();
    process[1] = &other;
    thread[0] = thread_current();
    list_init(&cgroup_root.children);
    for (unsigned i = 0; i < 2; i++) {
        process[i]->pid = 7 + i;
        process[i]->account = account_create(0, 1 << 20);
        list_init(&process[i]->threads);
        thread[1 + i] = &spare[i];
        spare[i].process = process[i];
        list_push_back(&process[i]->threads, &spare[i].process_node);
        spare[i].tid = 17 + i;
    }
    list_push_back(&process[0]->threads, &thread[0]->process_node);
    thread[0]->tid = 7;
    ck_assert_int_eq(cgroup_mount(), 0);
}

static struct node *find(struct node *directory, const char *name) {
    struct directory_entry *entry = directory_find(directory, name, strlen(name));
    return entry ? entry->node : NULL;
}

static struct node *make(struct node *directory, const char *name) {
    ck_assert_ptr_nonnull(directory);
    ck_assert_int_eq(directory->directory.kind->make(directory, name, strlen(name)), 0);
    return find(directory, name);
}

// What rmdir(2) does: asks the kind, then takes the name away.
static int take(struct node *directory) {
    int error = directory->directory.kind->remove(directory);
    if (!error) {
        ck_assert(list_empty(&directory->directory.entries));
        struct directory_entry *entry = directory->entry;
        directory_entry_remove(entry);
        directory_entry_free(entry);
    }
    return error;
}

static const char *get(struct node *directory, const char *name) {
    struct node *node = find(directory, name);
    ck_assert_ptr_nonnull(node);
    struct text shown = {text, sizeof text, 0};
    int error = node->text->show(node->object, &shown);
    ck_assert_uint_lt(shown.length, sizeof text);
    text[shown.length] = 0;
    return error ? "error" : text;
}

static int put(struct node *directory, const char *name, const char *order) {
    char copy[64];
    struct node *node = find(directory, name);
    ck_assert_ptr_nonnull(node);
    snprintf(copy, sizeof(copy), "%s", order);
    return node->text->store(node->object, copy);
}

START_TEST(controllers_are_handed_down) {
    start();
    struct node *root = cgroup_root.directory, *a = make(root, "a");
    ck_assert_int_eq(root->directory.kind->make(root, "a", 1), -EEXIST);
    ck_assert_str_eq(get(root, "cgroup.controllers"), "cpuset cpu memory\n");
    ck_assert_str_eq(get(a, "cgroup.controllers"), "\n");
    ck_assert_ptr_null(find(a, "cpu.max"));
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+cpu"), -ENOENT);
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "+io"), -EINVAL);
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "+cpu +memory -cpuset"), 0);
    ck_assert_str_eq(get(root, "cgroup.subtree_control"), "cpu memory\n");
    ck_assert_ptr_nonnull(find(a, "cpu.max"));
    ck_assert_ptr_null(find(a, "cpuset.cpus"));
    struct node *b = make(a, "b");
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+cpu"), 0);
    ck_assert_ptr_nonnull(find(b, "cpu.max"));
    ck_assert_ptr_null(find(b, "memory.max"));
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "-cpu"), -EBUSY);
    ck_assert_int_eq(put(b, "cpu.max", "5000 10000"), 0);
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "-cpu"), 0);
    ck_assert_ptr_null(find(b, "cpu.max"));
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+cpu"), 0);
    ck_assert_str_eq(get(b, "cpu.max"), "max 100000\n"); // nothing is left of the old one
    ck_assert_int_eq(take(a), -EBUSY);
    ck_assert_int_eq(take(b), 0);
    ck_assert_int_eq(take(a), 0);
    ck_assert_int_eq(take(root), -EBUSY);
}
END_TEST

START_TEST(the_tree_has_a_bottom) {
    start();
    struct node *at = cgroup_root.directory, *path[CGROUP_DEPTH];
    for (unsigned i = 0; i < CGROUP_DEPTH; i++)
        at = path[i] = make(at, "d");
    ck_assert_int_eq(at->directory.kind->make(at, "d", 1), -EAGAIN);
    for (unsigned i = CGROUP_DEPTH; i-- > 0;)
        ck_assert_int_eq(take(path[i]), 0);
}
END_TEST

START_TEST(settings_are_linuxs) {
    start();
    struct node *root = cgroup_root.directory, *a = make(root, "a");
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "+cpu +memory +cpuset"), 0);
    ck_assert_str_eq(get(a, "cpu.weight"), "100\n");
    ck_assert_int_eq(put(a, "cpu.weight", "10001"), -ERANGE);
    ck_assert_int_eq(put(a, "cpu.weight", "250"), 0);
    ck_assert_str_eq(get(a, "cpu.weight"), "250\n");
    for (int nice = -20; nice < 20; nice++) {
        char order[16];
        snprintf(order, sizeof order, "%d", nice);
        ck_assert_int_eq(put(a, "cpu.weight.nice", order), 0);
        ck_assert_int_le(abs(atoi(get(a, "cpu.weight.nice")) - nice), nice > 13 ? 2 : 0);
    }
    ck_assert_int_eq(put(a, "cpu.weight.nice", "-21"), -ERANGE);
    ck_assert_int_eq(put(a, "cpu.max", "25000"), 0);
    ck_assert_str_eq(get(a, "cpu.max"), "25000 100000\n");
    ck_assert_int_eq(put(a, "cpu.max", "max 20000"), 0);
    ck_assert_str_eq(get(a, "cpu.max"), "max 20000\n");
    ck_assert_int_eq(put(a, "cpu.max", "max20000"), -EINVAL);
    ck_assert_int_eq(put(a, "cpu.max", ""), -EINVAL);
    ck_assert_int_eq(put(a, "memory.max", "3K"), 0);
    ck_assert_str_eq(get(a, "memory.max"), "1\n"); // as good as nothing
    ck_assert_int_eq(put(a, "memory.max", "1G"), 0);
    ck_assert_str_eq(get(a, "memory.max"), "1073741824\n");
    ck_assert_int_eq(put(a, "memory.max", "1X"), -EINVAL);
    ck_assert_int_eq(put(a, "memory.max", "max"), 0);
    ck_assert_str_eq(get(a, "memory.max"), "max\n");
}
END_TEST

START_TEST(cpus_come_from_above) {
    start();
    struct node *root = cgroup_root.directory, *a = make(root, "a"), *b = make(a, "b");
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "+cpuset"), 0);
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+cpuset"), 0);
    ck_assert_int_eq(put(b, "cgroup.procs", "7"), 0);
    ck_assert_int_eq(put(b, "cpuset.cpus", "1-2"), 0);
    ck_assert_uint_eq(updates, 2);
    ck_assert_str_eq(get(b, "cpuset.cpus.effective"), "1-2\n");
    ck_assert_int_eq(put(a, "cpuset.cpus", "2-3"), 0);
    ck_assert_uint_eq(updates, 4);
    ck_assert_str_eq(get(b, "cpuset.cpus.effective"), "2\n");
    ck_assert_int_eq(put(a, "cpuset.cpus", "3"), 0); // none of its own: all from above
    ck_assert_str_eq(get(b, "cpuset.cpus.effective"), "3\n");
    ck_assert_int_eq(put(a, "cpuset.cpus", ""), 0);
    ck_assert_str_eq(get(b, "cpuset.cpus.effective"), "1-2\n");
}
END_TEST

START_TEST(processes_move_with_their_threads_and_memory) {
    start();
    struct node *root = cgroup_root.directory, *a = make(root, "a");
    struct memory_account *before = process[0]->account;
    ck_assert_str_eq(get(root, "cgroup.procs"), "7\n8\n");
    ck_assert_int_eq(put(a, "cgroup.procs", "9"), -ESRCH);
    ck_assert_int_eq(put(a, "cgroup.procs", "-7"), -EINVAL);
    ck_assert_int_eq(put(a, "cgroup.procs", "0"), 0);
    ck_assert_str_eq(get(a, "cgroup.procs"), "7\n");
    ck_assert_str_eq(get(a, "cgroup.threads"), "17\n7\n");
    ck_assert_str_eq(get(root, "cgroup.procs"), "8\n");
    ck_assert_str_eq(get(a, "cgroup.events"), "populated 1\nfrozen 0\n");
    ck_assert_int_eq(take(a), -EBUSY);
    ck_assert_ptr_ne(process[0]->account, before);
    ck_assert(account_same_program(process[0]->account, before));
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "+memory"), 0);
    ck_assert_int_eq(put(a, "memory.max", "1M"), 0);
    ck_assert_int_eq(account_charge(process[0]->account, 2 << 20, false), -ENOMEM);
    ck_assert_int_eq(account_charge(process[1]->account, 2 << 20, false), 0);
    ck_assert_int_eq(account_charge(process[0]->account, PAGE_SIZE, true), 0);
    ck_assert_str_eq(get(a, "memory.current"), "4096\n");
    ck_assert_str_eq(get(a, "memory.stat"), "anon 0\nfile 0\nkernel 4096\n");
    ck_assert_ptr_nonnull(strstr(get(a, "memory.events"), "\nmax 1\n"));
    account_uncharge(process[0]->account, PAGE_SIZE, true);
    // No internal processes: memory is for those below, or for its own.
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+memory"), -EBUSY);
    ck_assert_int_eq(put(root, "cgroup.procs", "7"), 0);
    ck_assert_ptr_eq(process[0]->account, before);
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+memory"), 0);
    ck_assert_int_eq(put(a, "cgroup.procs", "7"), -EBUSY);
    process[1]->exiting = true;
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "-memory"), 0);
    ck_assert_int_eq(put(a, "cgroup.procs", "8"), -ESRCH);
    spare[0].entity.policy.policy = SCHED_DEADLINE;
    ck_assert_int_eq(put(a, "cgroup.procs", "7"), 0); // the same CPUs
    ck_assert_int_eq(put(root, "cgroup.procs", "7"), 0);
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "+cpuset"), 0);
    ck_assert_int_eq(put(a, "cpuset.cpus", "1"), 0);
    ck_assert_int_eq(put(a, "cgroup.procs", "7"), -EBUSY);
    ck_assert_ptr_eq(process[0]->account, before);
    ck_assert_int_eq(take(a), 0);
}
END_TEST

START_TEST(threads_have_groups_of_their_own) {
    start();
    struct node *root = cgroup_root.directory, *a = make(root, "a"), *t = make(a, "t");
    ck_assert_int_eq(put(root, "cgroup.subtree_control", "+cpu +memory"), 0);
    ck_assert_int_eq(put(a, "cgroup.type", "threaded"), -EOPNOTSUPP); // has memory to share out
    ck_assert_int_eq(put(a, "cgroup.procs", "7"), 0);
    ck_assert_int_eq(put(t, "cgroup.threads", "17"), -EOPNOTSUPP);
    ck_assert_int_eq(put(t, "cgroup.type", "domain"), -EINVAL);
    ck_assert_int_eq(put(t, "cgroup.type", "threaded"), 0);
    ck_assert_str_eq(get(a, "cgroup.type"), "domain threaded\n");
    ck_assert_int_eq(put(t, "cgroup.threads", "18"), -EOPNOTSUPP); // lives elsewhere
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+cpu"), 0);
    ck_assert_int_eq(put(a, "cgroup.subtree_control", "+memory"), -EBUSY);
    ck_assert_int_eq(put(t, "cgroup.procs", "7"), -EOPNOTSUPP);
    ck_assert_int_eq(put(t, "cgroup.threads", "17"), 0);
    ck_assert_str_eq(get(t, "cgroup.threads"), "17\n");
    ck_assert_str_eq(get(a, "cgroup.threads"), "7\n");
    ck_assert_str_eq(get(a, "cgroup.procs"), "7\n");
    ck_assert_str_eq(get(t, "cgroup.procs"), "error");
    ck_assert_int_eq(take(t), -EBUSY);
    // A thread is born beside the one that makes it.
    struct thread child = {.process = process[0]};
    cgroup_join(&child);
    ck_assert_ptr_eq(cgroup_of_thread(&child), a->object);
    ck_assert_int_eq(put(root, "cgroup.procs", "7"), 0); // takes all along
    ck_assert_str_eq(get(t, "cgroup.threads"), "");
    ck_assert_int_eq(take(t), 0);
}
END_TEST

Suite *cgroup_suite(void);

Suite *cgroup_suite(void) {
    Suite *suite = suite_create("cgroup");
    TCase *test = tcase_create("cgroup");
    tcase_add_test(test, controllers_are_handed_down);
    tcase_add_test(test, the_tree_has_a_bottom);
    tcase_add_test(test, settings_are_linuxs);
    tcase_add_test(test, cpus_come_from_above);
    tcase_add_test(test, processes_move_with_their_threads_and_memory);
    tcase_add_test(test, threads_have_groups_of_their_own);
    suite_add_tcase(suite, test);
    return suite;
}
