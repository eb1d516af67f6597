// SPDX-License-Identifier: BSD-2-Clause
// /sys/fs/cgroup: the tree of control groups with the files of Linux's cgroup v2
// (Documentation/admin-guide/cgroup-v2.rst), for the controllers cpu, cpuset and memory.
#include <linux/errno.h>
#include "arch/x86/cpu.h"
#include "core/file/file.h"
#include "core/file/node.h"
#include "core/file/text_file.h"
#include "core/log.h"
#include "core/mm/page.h"
#include "core/process/cgroup.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/sched/run_policy.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

#define US 1000u // ns

static const struct {
    const char *name;
    unsigned bit;
} controllers[] = {{"cpuset", CGROUP_CPUSET}, {"cpu", CGROUP_CPU}, {"memory", CGROUP_MEMORY}};
enum { CONTROLLERS = sizeof controllers / sizeof *controllers };

// A listing under way: what does not fit is counted, so that the reader comes with more room.
struct listing {
    char *to;
    size_t size, length;
    struct cgroup *cgroup;
};

static void list_number(struct listing *listing, unsigned number) {
    size_t at = listing->length < listing->size ? listing->length : listing->size;
    listing->length += (size_t)format_string(listing->to + at, listing->size - at, "%u\n", number);
}

static void list_process(struct process *process, void *argument) {
    struct listing *listing = argument;
    if (!process->zombie && cgroup_of_process(process) == listing->cgroup)
        list_number(listing, process->pid);
}

static int show_processes(void *object, char *to, size_t size) {
    struct listing listing = {to, size, 0, object};
    if (listing.cgroup->threaded)
        return -EOPNOTSUPP;
    process_for_each(list_process, &listing);
    return (int)listing.length;
}

static void list_thread(struct thread *thread, void *argument) {
    list_number(argument, thread->tid);
}

static int show_threads(void *object, char *to, size_t size) {
    struct listing listing = {to, size, 0, object};
    cgroup_for_each_thread(object, list_thread, &listing);
    return (int)listing.length;
}

static bool has_domain_child(const struct cgroup *cgroup, bool populated) {
    list_for_each(node, &cgroup->children) {
        const struct cgroup *child = container_of(node, struct cgroup, sibling);
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

static int show_type(void *object, char *to, size_t size) {
    const struct cgroup *cgroup = object;
    bool threads_below = false;
    spin_lock(&cgroup_lock);
    list_for_each(node, &cgroup->children) threads_below |=
        container_of(node, struct cgroup, sibling)->threaded;
    spin_unlock(&cgroup_lock);
    const char *type = cgroup->threaded ? "threaded" : threads_below ? "domain threaded" : "domain";
    return format_string(to, size, "%s\n", type);
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

static int show_events(void *object, char *to, size_t size) {
    spin_lock(&cgroup_lock);
    bool populated = cgroup_populated(object);
    spin_unlock(&cgroup_lock);
    return format_string(to, size, "populated %u\nfrozen 0\n", populated);
}

static unsigned available(const struct cgroup *cgroup) {
    unsigned from_above = cgroup->parent ? cgroup->parent->enabled : CGROUP_CONTROLLERS;
    return cgroup->threaded ? from_above & ~(unsigned)CGROUP_MEMORY : from_above;
}

static int show_controllers(unsigned mask, char *to, size_t size) {
    size_t length = 0;
    for (unsigned i = 0; i < CONTROLLERS; i++)
        if (mask & controllers[i].bit)
            length += (size_t)format_string(to + length, size - length, "%s%s", length ? " " : "",
                                            controllers[i].name);
    return (int)length + format_string(to + length, size - length, "\n");
}

static int show_available(void *object, char *to, size_t size) {
    return show_controllers(available(object), to, size);
}

static int show_enabled(void *object, char *to, size_t size) {
    return show_controllers(((struct cgroup *)object)->enabled, to, size);
}

static int show_cpu_stat(void *object, char *to, size_t size) {
    const struct run_group *group = &((struct cgroup *)object)->cpu;
    scheduler_charge();
    uint64_t usage = group->usage;
    if (object == &cgroup_root)
        for (unsigned i = 0; i < cpu_count(); i++) {
            struct scheduler_counts counts;
            scheduler_counts(i, &counts);
            usage += time_now() - counts.idle;
        }
    // What the kernel does for a thread is part of its time and not told apart.
    int length = format_string(to, size, "usage_usec %lu\nuser_usec %lu\nsystem_usec 0\n",
                               usage / US, usage / US);
    if (object == &cgroup_root)
        return length;
    return length + format_string(to + length, size - (size_t)length,
                                  "nr_periods %lu\nnr_throttled %lu\nthrottled_usec %lu\n",
                                  group->periods, group->throttled_periods,
                                  group->throttled_time / US);
}

static int show_weight(void *object, char *to, size_t size) {
    return format_string(to, size, "%u\n", run_group_cpu_weight(&((struct cgroup *)object)->cpu));
}

static int store_weight(void *object, char *text) {
    const char *at = text;
    uint64_t weight;
    if (!text_number(&at, &weight) || *at)
        return -EINVAL;
    return weight > UINT32_MAX
               ? -ERANGE
               : run_group_set_weight(&((struct cgroup *)object)->cpu, (unsigned)weight);
}

// cpu.weight of a nice level, as Linux rounds it.
static unsigned weight_of_nice(int nice) {
    uint64_t weight = (uint64_t)run_nice_weight(nice) * 100;
    return (unsigned)((weight + RUN_WEIGHT_DEFAULT / 2) / RUN_WEIGHT_DEFAULT);
}

static int show_weight_nice(void *object, char *to, size_t size) {
    unsigned weight = run_group_cpu_weight(&((struct cgroup *)object)->cpu), best = UINT32_MAX;
    int nearest = 0;
    for (int nice = -20; nice < 20; nice++) {
        unsigned there = weight_of_nice(nice);
        unsigned distance = there > weight ? there - weight : weight - there;
        if (distance < best) {
            best = distance;
            nearest = nice;
        }
    }
    return format_string(to, size, "%d\n", nearest);
}

static int store_weight_nice(void *object, char *text) {
    bool negative = *text == '-';
    const char *at = text + negative;
    uint64_t nice;
    if (!text_number(&at, &nice) || *at)
        return -EINVAL;
    if (nice > (negative ? 20 : 19))
        return -ERANGE;
    return run_group_set_weight(&((struct cgroup *)object)->cpu,
                                weight_of_nice(negative ? -(int)nice : (int)nice));
}

static int show_cpu_max(void *object, char *to, size_t size) {
    const struct run_group *group = &((struct cgroup *)object)->cpu;
    if (group->quota == RUN_UNLIMITED)
        return format_string(to, size, "max %lu\n", group->period / US);
    return format_string(to, size, "%lu %lu\n", group->quota / US, group->period / US);
}

// A number or "max", which is UINT64_MAX. False: neither.
static bool parse_limit(const char **text, uint64_t *limit) {
    if (strncmp(*text, "max", 3) != 0)
        return text_number(text, limit) && *limit != UINT64_MAX;
    *text += 3;
    *limit = UINT64_MAX;
    return true;
}

static int store_cpu_max(void *object, char *text) {
    struct run_group *group = &((struct cgroup *)object)->cpu;
    const char *at = text;
    uint64_t quota, period = group->period / US;
    if (!parse_limit(&at, &quota) || (*at && *at != ' '))
        return -EINVAL;
    while (*at == ' ')
        at++;
    if (*at && (!text_number(&at, &period) || *at))
        return -EINVAL;
    if (period > UINT32_MAX || (quota != UINT64_MAX && quota > UINT64_MAX / US))
        return -EINVAL;
    return scheduler_set_bandwidth(group, quota == UINT64_MAX ? RUN_UNLIMITED : quota * US,
                                   period * US);
}

static int show_cpus(void *object, char *to, size_t size) {
    return text_cpu_list(to, size, ((struct cgroup *)object)->cpus);
}

static int show_effective_cpus(void *object, char *to, size_t size) {
    return text_cpu_list(to, size, ((struct cgroup *)object)->cpu.cpus);
}

static int store_cpus(void *object, char *text) {
    struct cgroup *cgroup = object;
    uint64_t cpus[CPU_MAX / 64];
    int error = text_cpu_list_parse(text, cpus);
    if (error)
        return error;
    spin_lock(&cgroup_lock);
    memcpy(cgroup->cpus, cpus, sizeof cpus);
    cgroup_update_cpus(cgroup);
    spin_unlock(&cgroup_lock);
    return 0;
}

static int show_memory_max(void *object, char *to, size_t size) {
    size_t limit = ((struct cgroup *)object)->memory.total.limit;
    return limit ? format_string(to, size, "%zu\n", limit) : format_string(to, size, "max\n");
}

// A limit below what is used refuses what comes; nothing is taken away.
static int store_memory_max(void *object, char *text) {
    const char *at = text;
    uint64_t limit;
    if (!parse_limit(&at, &limit))
        return -EINVAL;
    static const char suffixes[] = "KMGT";
    const char *suffix = *at ? strchr(suffixes, *at & ~0x20) : NULL;
    if (suffix && limit != UINT64_MAX) {
        unsigned shift = 10 * (unsigned)(suffix - suffixes + 1);
        limit = limit >> (64 - shift) ? UINT64_MAX & PAGE_MASK : limit << shift;
        at++;
    }
    if (*at)
        return -EINVAL;
    // The budget's 0 is no limit; less than a page is as good as nothing.
    ((struct cgroup *)object)->memory.total.limit = limit == UINT64_MAX ? 0
                                                    : limit < PAGE_SIZE ? 1
                                                                        : limit & PAGE_MASK;
    return 0;
}

static int show_memory_current(void *object, char *to, size_t size) {
    return format_string(to, size, "%zu\n", ((struct cgroup *)object)->memory.total.used);
}

static int show_memory_events(void *object, char *to, size_t size) {
    return format_string(to, size, "low 0\nhigh 0\nmax %lu\noom 0\noom_kill 0\noom_group_kill 0\n",
                         ((struct cgroup *)object)->memory.refused);
}

static int show_memory_stat(void *object, char *to, size_t size) {
    struct memory_group *group = &((struct cgroup *)object)->memory;
    size_t kernel = group->kernel, used = group->total.used;
    return format_string(to, size, "anon %zu\nfile 0\nkernel %zu\n",
                         used > kernel ? used - kernel : 0, kernel);
}

static int store_enabled(void *object, char *text);

static void release(void *object) {
    cgroup_put(object);
}

static const struct cgroup_file {
    struct text_file text;
    unsigned controller; // whose it is; 0: every group's
    bool in_root;
} files[] = {
    {{"cgroup.procs", show_processes, store_process, release}, 0, true},
    {{"cgroup.threads", show_threads, store_thread, release}, 0, true},
    {{"cgroup.controllers", show_available, NULL, release}, 0, true},
    {{"cgroup.subtree_control", show_enabled, store_enabled, release}, 0, true},
    {{"cgroup.type", show_type, store_type, release}, 0, false},
    {{"cgroup.events", show_events, NULL, release}, 0, false},
    {{"cpu.stat", show_cpu_stat, NULL, release}, 0, true},
    {{"cpu.weight", show_weight, store_weight, release}, CGROUP_CPU, false},
    {{"cpu.weight.nice", show_weight_nice, store_weight_nice, release}, CGROUP_CPU, false},
    {{"cpu.max", show_cpu_max, store_cpu_max, release}, CGROUP_CPU, false},
    {{"cpuset.cpus", show_cpus, store_cpus, release}, CGROUP_CPUSET, false},
    {{"cpuset.cpus.effective", show_effective_cpus, NULL, release}, CGROUP_CPUSET, true},
    {{"memory.max", show_memory_max, store_memory_max, release}, CGROUP_MEMORY, false},
    {{"memory.current", show_memory_current, NULL, release}, CGROUP_MEMORY, false},
    {{"memory.events", show_memory_events, NULL, release}, CGROUP_MEMORY, false},
    {{"memory.stat", show_memory_stat, NULL, release}, CGROUP_MEMORY, false},
};
enum { FILES = sizeof files / sizeof *files };

// Adds the files of these controllers, with `base` those of every group too. 0 or -ENOMEM.
static int add_files(struct cgroup *cgroup, unsigned mask, bool base) {
    for (unsigned i = 0; i < FILES; i++) {
        bool wanted = files[i].controller ? files[i].controller & mask : base;
        if (!wanted || (cgroup == &cgroup_root && !files[i].in_root))
            continue;
        cgroup_get(cgroup);
        int error = text_file_add(cgroup->directory, &files[i].text, cgroup);
        if (error && error != -EEXIST)
            return error;
    }
    return 0;
}

// Removes the files of these controllers; with all, every one.
static void remove_files(struct cgroup *cgroup, unsigned mask, bool all) {
    for (unsigned i = 0; i < FILES; i++) {
        if (!all && !(files[i].controller & mask))
            continue;
        spin_lock(&tree_lock);
        const char *name = files[i].text.name;
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
    unsigned members = 0;
    struct listing none = {(char *)&members, 0, 0, cgroup};
    if (enable && cgroup != &cgroup_root && !threads_only) {
        cgroup_for_each_thread(cgroup, list_thread, &none);
        if (none.length)
            return -EBUSY;
    }
    int error = 0;
    list_for_each(node, &cgroup->children) {
        struct cgroup *child = container_of(node, struct cgroup, sibling);
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
static int show_own(void *object, char *to, size_t size) {
    enum { PREFIX = sizeof "/sys/fs/cgroup" - 1 };
    char path[256] = "/";
    const struct cgroup *cgroup = cgroup_of_thread(thread_current());
    if (cgroup->directory && !cgroup->removed &&
        node_path(cgroup->directory, path, sizeof path) > PREFIX)
        memmove(path, path + PREFIX, sizeof path - PREFIX);
    else
        memcpy(path, "/", 2);
    return format_string(to, size, "0::%s\n", path);
}

static int show_mounts(void *object, char *to, size_t size) {
    return format_string(to, size,
                         "rootfs / rootfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
}

static int show_mountinfo(void *object, char *to, size_t size) {
    return format_string(to, size,
                         "1 1 0:1 / / rw - rootfs rootfs rw\n"
                         "2 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
}

int cgroup_mount(void) {
    static const struct text_file own = {.name = "cgroup", .show = show_own};
    static const struct text_file mounts = {.name = "mounts", .show = show_mounts};
    static const struct text_file mountinfo = {.name = "mountinfo", .show = show_mountinfo};
    struct node *directory, *self;
    int error = root_directory("/sys/fs/cgroup", &directory);
    cgroup_init();
    if (!error) {
        tie(&cgroup_root, directory);
        error = add_files(&cgroup_root, CGROUP_CONTROLLERS, true);
    }
    if (!error)
        error = root_directory("/proc/self", &self);
    if (!error)
        error = text_file_add(self, &own, NULL);
    if (!error)
        error = text_file_add(self, &mounts, NULL);
    return error ? error : text_file_add(self, &mountinfo, NULL);
}
