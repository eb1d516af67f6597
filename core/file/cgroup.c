// SPDX-License-Identifier: BSD-2-Clause
// /sys/fs/cgroup: the tree of control groups with the files of Linux's cgroup v2
// (Documentation/admin-guide/cgroup-v2.rst). Those of the controllers are in cgroup_settings.c.
#include <linux/errno.h>
#include "arch/x86/cpu.h"
#include "core/file/cgroup_settings.h"
#include "core/file/file.h"
#include "core/file/node.h"
#include "core/log.h"
#include "core/mm/page.h"
#include "core/process/cgroup.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/sched/run_policy.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

static const struct {
    const char *name;
    unsigned bit;
} controllers[] = {{"cpuset", CGROUP_CPUSET}, {"cpu", CGROUP_CPU}, {"memory", CGROUP_MEMORY}};
enum { CONTROLLERS = sizeof controllers / sizeof *controllers };

struct listing {
    struct text *text;
    const struct cgroup *cgroup;
};

static void list_process(struct process *process, void *argument) {
    const struct listing *listing = argument;
    if (!process->zombie && cgroup_of_process(process) == listing->cgroup)
        text_add(listing->text, "%u\n", process->pid);
}

static int show_processes(void *object, struct text *text) {
    struct listing listing = {text, object};
    if (listing.cgroup->threaded)
        return -EOPNOTSUPP;
    process_for_each(list_process, &listing);
    return 0;
}

static void list_thread(struct thread *thread, void *argument) {
    text_add(argument, "%u\n", thread->tid);
}

static int show_threads(void *object, struct text *text) {
    cgroup_for_each_thread(object, list_thread, text);
    return 0;
}

static bool has_domain_child(const struct cgroup *cgroup, bool populated) {
    list_for_each_entry(const struct cgroup, child, &cgroup->children, sibling) {
        if (!child->threaded && (!populated || cgroup_populated(child)))
            return true;
    }
    return false;
}

// cgroup_lock held. Whether the group may have both members and children that get resources: the
// rule of no internal processes does not hold for threads.
static bool may_mix(const struct cgroup *cgroup) {
    return cgroup == &cgroup_root || cgroup->threaded ||
           (!(cgroup->enabled & CGROUP_MEMORY) && !has_domain_child(cgroup, true));
}

// 0: the writer itself.
static int parse_id(char *text, unsigned self, unsigned *id) {
    const char *at = text;
    uint64_t number;
    if (!text_number(&at, &number) || *at || number > INT32_MAX)
        return -EINVAL;
    *id = number ? (unsigned)number : self;
    return 0;
}

static int store_process(void *object, char *text) {
    struct cgroup *cgroup = object;
    unsigned pid;
    int error = parse_id(text, process_current()->pid, &pid);
    struct process *process = error ? NULL : process_find(pid);
    if (!process)
        return error ? error : -ESRCH;
    struct memory_account *account = cgroup_account(cgroup, process);
    spin_lock(&cgroup_lock);
    if (!account)
        error = -ENOMEM;
    else if (!process_may_control(process))
        error = -EACCES;
    else if (cgroup->removed)
        error = -ENODEV;
    else if (cgroup->threaded)
        error = -EOPNOTSUPP;
    else if (cgroup->enabled && !may_mix(cgroup))
        error = -EBUSY;
    else
        error = cgroup_move_process(cgroup, process, &account);
    spin_unlock(&cgroup_lock);
    account_put(account);
    process_put(process);
    return error;
}

static int store_thread(void *object, char *text) {
    struct cgroup *cgroup = object;
    unsigned tid;
    int error = parse_id(text, thread_current()->tid, &tid);
    struct thread *thread = error ? NULL : thread_find(tid);
    if (!thread)
        return error ? error : -ESRCH;
    spin_lock(&cgroup_lock);
    if (!process_may_control(thread->process))
        error = -EACCES;
    else if (cgroup->removed)
        error = -ENODEV;
    else
        error = cgroup_move_thread(cgroup, thread);
    spin_unlock(&cgroup_lock);
    thread_put(thread);
    return error;
}

static int show_type(void *object, struct text *text) {
    const struct cgroup *cgroup = object;
    bool threads_below = false;
    spin_lock(&cgroup_lock);
    list_for_each(node, &cgroup->children) threads_below |=
        container_of(node, struct cgroup, sibling)->threaded;
    spin_unlock(&cgroup_lock);
    const char *type = cgroup->threaded ? "threaded" : threads_below ? "domain threaded" : "domain";
    text_add(text, "%s\n", type);
    return 0;
}

static int store_type(void *object, char *text) {
    struct cgroup *cgroup = object;
    if (strcmp(text, "threaded") != 0)
        return -EINVAL;
    int error = 0;
    spin_lock(&cgroup_lock);
    if (cgroup->removed)
        error = -ENODEV;
    else if (!cgroup->threaded &&
             (cgroup_populated(cgroup) || cgroup->enabled & CGROUP_MEMORY ||
              cgroup->parent->enabled & CGROUP_MEMORY || has_domain_child(cgroup, false)))
        error = -EOPNOTSUPP;
    else
        cgroup->threaded = true;
    spin_unlock(&cgroup_lock);
    return error;
}

static int show_events(void *object, struct text *text) {
    spin_lock(&cgroup_lock);
    bool populated = cgroup_populated(object);
    spin_unlock(&cgroup_lock);
    text_add(text, "populated %u\nfrozen 0\n", populated);
    return 0;
}

static unsigned available(const struct cgroup *cgroup) {
    unsigned from_above = cgroup->parent ? cgroup->parent->enabled : CGROUP_CONTROLLERS;
    return cgroup->threaded ? from_above & ~(unsigned)CGROUP_MEMORY : from_above;
}

static int show_controllers(unsigned mask, struct text *text) {
    const char *space = "";
    for (unsigned i = 0; i < CONTROLLERS; i++)
        if (mask & controllers[i].bit) {
            text_add(text, "%s%s", space, controllers[i].name);
            space = " ";
        }
    text_add(text, "\n");
    return 0;
}

static int show_available(void *object, struct text *text) {
    return show_controllers(available(object), text);
}

static int show_enabled(void *object, struct text *text) {
    return show_controllers(((struct cgroup *)object)->enabled, text);
}

static int store_enabled(void *object, char *text);

void cgroup_put_object(void *cgroup) {
    cgroup_put(cgroup);
}

static const struct cgroup_file own_files[] = {
    {{"cgroup.procs", show_processes, store_process, cgroup_put_object}, 0, true},
    {{"cgroup.threads", show_threads, store_thread, cgroup_put_object}, 0, true},
    {{"cgroup.controllers", show_available, NULL, cgroup_put_object}, 0, true},
    {{"cgroup.subtree_control", show_enabled, store_enabled, cgroup_put_object}, 0, true},
    {{"cgroup.type", show_type, store_type, cgroup_put_object}, 0, false},
    {{"cgroup.events", show_events, NULL, cgroup_put_object}, 0, false},
};

enum { OWN_FILES = sizeof own_files / sizeof *own_files, FILES = OWN_FILES + CGROUP_SETTINGS };

static const struct cgroup_file *file_at(unsigned i) {
    return i < OWN_FILES ? &own_files[i] : &cgroup_settings[i - OWN_FILES];
}

// Adds the files of these controllers, with `base` those of every group too. 0 or -ENOMEM.
static int add_files(struct cgroup *cgroup, unsigned mask, bool base) {
    for (unsigned i = 0; i < FILES; i++) {
        const struct cgroup_file *file = file_at(i);
        bool wanted = file->controller ? file->controller & mask : base;
        if (!wanted || (cgroup == &cgroup_root && !file->in_root))
            continue;
        cgroup_get(cgroup);
        int error = text_file_add(cgroup->directory, &file->text, cgroup);
        if (error && error != -EEXIST)
            return error;
    }
    return 0;
}

// Removes the files of these controllers; with all, every one.
static void remove_files(struct cgroup *cgroup, unsigned mask, bool all) {
    for (unsigned i = 0; i < FILES; i++) {
        if (!all && !(file_at(i)->controller & mask))
            continue;
        spin_lock(&tree_lock);
        const char *name = file_at(i)->text.name;
        struct directory_entry *entry = directory_find(cgroup->directory, name, strlen(name));
        if (entry)
            directory_entry_remove(entry);
        spin_unlock(&tree_lock);
        if (entry)
            directory_entry_free(entry);
    }
}

// A controller that is taken away leaves no settings behind.
static void reset(struct cgroup *cgroup, unsigned mask) {
    if (mask & CGROUP_CPU) {
        run_group_set_weight(&cgroup->cpu, 100);
        scheduler_set_bandwidth(&cgroup->cpu, RUN_UNLIMITED, RUN_GROUP_PERIOD);
    }
    if (mask & CGROUP_CPUSET) {
        memset(cgroup->cpus, 0, sizeof cgroup->cpus);
        cgroup_update_cpus(cgroup);
    }
    if (mask & CGROUP_MEMORY)
        cgroup->memory.total.limit = 0;
}

// cgroup_lock held; the masks are of controllers that change.
static int change_enabled(struct cgroup *cgroup, unsigned enable, unsigned disable) {
    if (cgroup->removed)
        return -ENODEV;
    if (enable & ~available(cgroup))
        return -ENOENT;
    unsigned used_below = 0;
    list_for_each(node, &cgroup->children) used_below |=
        container_of(node, struct cgroup, sibling)->enabled;
    if (disable & used_below)
        return -EBUSY;
    if (enable & CGROUP_MEMORY && cgroup->threaded)
        return -EOPNOTSUPP;
    bool threads_only = !(enable & CGROUP_MEMORY) && may_mix(cgroup);
    struct text members = {0};
    if (enable && cgroup != &cgroup_root && !threads_only) {
        cgroup_for_each_thread(cgroup, list_thread, &members);
        if (members.length)
            return -EBUSY;
    }
    int error = 0;
    list_for_each_entry(struct cgroup, child, &cgroup->children, sibling) {
        unsigned its = child->threaded ? enable & ~(unsigned)CGROUP_MEMORY : enable;
        error = error ? error : add_files(child, its, false);
        remove_files(child, error ? enable : disable, false);
        reset(child, disable);
    }
    if (!error)
        cgroup->enabled = (cgroup->enabled | enable) & ~disable;
    return error;
}

// "+cpu -memory": all or none.
static int store_enabled(void *object, char *text) {
    struct cgroup *cgroup = object;
    unsigned enable = 0, disable = 0;
    for (const char *at = text; *at;) {
        if (*at == ' ') {
            at++;
            continue;
        }
        unsigned found = 0;
        size_t length = 0;
        while (at[1 + length] && at[1 + length] != ' ')
            length++;
        for (unsigned i = 0; i < CONTROLLERS; i++)
            if (strlen(controllers[i].name) == length &&
                !memcmp(controllers[i].name, at + 1, length))
                found = controllers[i].bit;
        if (!found || (*at != '+' && *at != '-'))
            return -EINVAL;
        enable = *at == '+' ? enable | found : enable & ~found;
        disable = *at == '-' ? disable | found : disable & ~found;
        at += 1 + length;
    }
    spin_lock(&cgroup_lock);
    int error = change_enabled(cgroup, enable & ~cgroup->enabled, disable & cgroup->enabled);
    spin_unlock(&cgroup_lock);
    return error;
}

static const struct directory_kind cgroup_directory;

static void tie(struct cgroup *cgroup, struct node *directory) {
    cgroup->directory = directory;
    directory->object = cgroup;
    directory->directory.kind = &cgroup_directory;
}

static void remove_name(struct node *directory) {
    spin_lock(&tree_lock);
    struct directory_entry *entry = directory->entry;
    directory_entry_remove(entry);
    spin_unlock(&tree_lock);
    directory_entry_free(entry);
}

static int make_directory(struct node *above, const char *name, size_t length) {
    struct cgroup *parent = above->object;
    struct cgroup *cgroup = cgroup_create(parent);
    struct node *directory = cgroup ? node_create(S_IFDIR | 0755) : NULL;
    if (!directory) {
        if (cgroup)
            cgroup_put(cgroup);
        return -ENOMEM;
    }
    tie(cgroup, directory);
    spin_lock(&cgroup_lock);
    cgroup->threaded = parent->threaded;
    int error = parent->removed                ? -ENOENT
                : cgroup->depth > CGROUP_DEPTH ? -EAGAIN
                                               : directory_add(above, name, length, directory);
    if (!error) {
        error = add_files(cgroup, available(cgroup), true);
        if (error) {
            remove_files(cgroup, 0, true);
            remove_name(directory);
        }
    }
    if (!error)
        list_push_back(&parent->children, &cgroup->sibling);
    spin_unlock(&cgroup_lock);
    if (error)
        cgroup_put(cgroup);
    node_put(directory);
    return error;
}

static int remove_directory(struct node *directory) {
    struct cgroup *cgroup = directory->object;
    if (cgroup == &cgroup_root)
        return -EBUSY;
    spin_lock(&cgroup_lock);
    int error = cgroup->removed                                              ? -ENODEV
                : cgroup_populated(cgroup) || !list_empty(&cgroup->children) ? -EBUSY
                                                                             : 0;
    if (!error) {
        cgroup->removed = true;
        list_remove(&cgroup->sibling);
        remove_files(cgroup, 0, true);
    }
    spin_unlock(&cgroup_lock);
    if (!error)
        cgroup_put(cgroup); // the tree's
    return error;
}

static const struct directory_kind cgroup_directory = {make_directory, remove_directory};

// The path from the root of the tree, as /proc/self/cgroup has it.
static int show_own(void *object, struct text *text) {
    enum { PREFIX = sizeof "/sys/fs/cgroup" - 1 };
    char path[256] = "/";
    const struct cgroup *cgroup = cgroup_of_thread(thread_current());
    if (cgroup->directory && !cgroup->removed &&
        node_path(cgroup->directory, path, sizeof path) > PREFIX)
        memmove(path, path + PREFIX, sizeof path - PREFIX);
    else
        memcpy(path, "/", 2);
    text_add(text, "0::%s\n", path);
    return 0;
}

static int show_mounts(void *object, struct text *text) {
    text_add(text, "rootfs / rootfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
    return 0;
}

static int show_mountinfo(void *object, struct text *text) {
    text_add(text, "1 1 0:1 / / rw - rootfs rootfs rw\n"
                   "2 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    return 0;
}

int cgroup_mount(void) {
    static const struct text_file self_files[] = {{.name = "cgroup", .show = show_own},
                                                  {.name = "mounts", .show = show_mounts},
                                                  {.name = "mountinfo", .show = show_mountinfo}};
    struct node *directory, *self;
    int error = root_directory("/sys/fs/cgroup", &directory);
    cgroup_init();
    if (!error) {
        tie(&cgroup_root, directory);
        error = add_files(&cgroup_root, CGROUP_CONTROLLERS, true);
    }
    if (!error)
        error = root_directory("/proc/self", &self);
    for (unsigned i = 0; !error && i < sizeof self_files / sizeof *self_files; i++)
        error = text_file_add(self, &self_files[i], NULL);
    return error;
}
