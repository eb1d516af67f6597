// SPDX-License-Identifier: BSD-2-Clause
// The files of the controllers cpu, cpuset and memory: what a group may have and what it has had.
#include "core/file/cgroup_settings.h"
#include <linux/errno.h>

#include "arch/x86/cpu.h"
#include "core/mm/page.h"
#include "core/process/cgroup.h"
#include "core/sched/run_policy.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

#define US 1000u // ns

static int show_cpu_stat(void *object, struct text *text) {
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
    text_add(text, "usage_usec %lu\nuser_usec %lu\nsystem_usec 0\n", usage / US, usage / US);
    if (object != &cgroup_root)
        text_add(text, "nr_periods %lu\nnr_throttled %lu\nthrottled_usec %lu\n", group->periods,
                 group->throttled_periods, group->throttled_time / US);
    return 0;
}

static int show_weight(void *object, struct text *text) {
    text_add(text, "%u\n", run_group_cpu_weight(&((struct cgroup *)object)->cpu));
    return 0;
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

static int show_weight_nice(void *object, struct text *text) {
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
    text_add(text, "%d\n", nearest);
    return 0;
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

static int show_cpu_max(void *object, struct text *text) {
    const struct run_group *group = &((struct cgroup *)object)->cpu;
    if (group->quota == RUN_UNLIMITED)
        text_add(text, "max %lu\n", group->period / US);
    else
        text_add(text, "%lu %lu\n", group->quota / US, group->period / US);
    return 0;
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

static int show_cpus(void *object, struct text *text) {
    return text_cpu_list(text, ((struct cgroup *)object)->cpus);
}

static int show_effective_cpus(void *object, struct text *text) {
    return text_cpu_list(text, ((struct cgroup *)object)->cpu.cpus);
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

static int show_memory_max(void *object, struct text *text) {
    size_t limit = ((struct cgroup *)object)->memory.total.limit;
    text_add(text, limit ? "%zu\n" : "max\n", limit);
    return 0;
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

static int show_memory_current(void *object, struct text *text) {
    text_add(text, "%zu\n", ((struct cgroup *)object)->memory.total.used);
    return 0;
}

static int show_memory_events(void *object, struct text *text) {
    text_add(text, "low 0\nhigh 0\nmax %lu\noom 0\noom_kill 0\noom_group_kill 0\n",
             ((struct cgroup *)object)->memory.refused);
    return 0;
}

static int show_memory_stat(void *object, struct text *text) {
    struct memory_group *group = &((struct cgroup *)object)->memory;
    size_t kernel = group->kernel, used = group->total.used;
    text_add(text, "anon %zu\nfile 0\nkernel %zu\n", used > kernel ? used - kernel : 0, kernel);
    return 0;
}

const struct cgroup_file cgroup_settings[CGROUP_SETTINGS] = {
    {{"cpu.stat", show_cpu_stat, NULL, cgroup_put_object}, 0, true},
    {{"cpu.weight", show_weight, store_weight, cgroup_put_object}, CGROUP_CPU, false},
    {{"cpu.weight.nice", show_weight_nice, store_weight_nice, cgroup_put_object},
     CGROUP_CPU,
     false},
    {{"cpu.max", show_cpu_max, store_cpu_max, cgroup_put_object}, CGROUP_CPU, false},
    {{"cpuset.cpus", show_cpus, store_cpus, cgroup_put_object}, CGROUP_CPUSET, false},
    {{"cpuset.cpus.effective", show_effective_cpus, NULL, cgroup_put_object}, CGROUP_CPUSET, true},
    {{"memory.max", show_memory_max, store_memory_max, cgroup_put_object}, CGROUP_MEMORY, false},
    {{"memory.current", show_memory_current, NULL, cgroup_put_object}, CGROUP_MEMORY, false},
    {{"memory.events", show_memory_events, NULL, cgroup_put_object}, CGROUP_MEMORY, false},
    {{"memory.stat", show_memory_stat, NULL, cgroup_put_object}, CGROUP_MEMORY, false},
};
