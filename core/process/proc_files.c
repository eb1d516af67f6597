// SPDX-License-Identifier: BSD-2-Clause
// Files of the machine and, made when they are looked for, of each thread: proc(5).
#include "core/process/proc_files.h"
#include <linux/errno.h>
#include "core/file/node.h"
#include "core/file/path.h"
#include "core/file/text_file.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/process/process_table.h"
#include "core/sched/scheduler.h"
#include "core/sched/thread.h"
#include "core/string.h"

// Time on a CPU, time waiting for one, both in ns, and turns on it, which are not counted.
static int show_schedstat(void *object, struct text *text) {
    struct thread *thread = thread_find((unsigned)(uintptr_t)object);
    if (!thread)
        return -ESRCH;
    text_add(text, "%lu %lu 0\n", thread_run_time(thread), thread->entity.run_delay);
    thread_put(thread);
    return 0;
}

// proc_pid_stat(5) up to the 39th field, the CPU it runs on or ran on last; what is not counted
// here is 0.
static int show_thread(void *object, struct text *text) {
    const uint64_t hundredth = 10000000;
    struct thread *thread = thread_find((unsigned)(uintptr_t)object);
    if (!thread)
        return -ESRCH;
    bool waits = thread->state == THREAD_WAITING;
    text_add(text,
             "%u (%s) %c 0 0 0 0 0 0 0 0 0 0 %lu 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 "
             "0 0 0 0 0 0 0 0 0 %u\n",
             thread->tid, thread->name, waits ? 'S' : 'R', thread_run_time(thread) / hundredth,
             thread->entity.cpu);
    thread_put(thread);
    return 0;
}

static struct node *make_file(struct node *directory, const char *name, size_t length) {
    static const struct text_file files[] = {{.name = "schedstat", .show = show_schedstat},
                                             {.name = "stat", .show = show_thread}};
    const struct text_file *file = NULL;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (length == strlen(files[i].name) && !memcmp(files[i].name, name, length))
            file = &files[i];
    }
    struct node *node = file ? node_create(S_IFREG | 0444) : NULL;
    if (node) {
        node->text = file;
        node->object = directory->object;
    }
    return node;
}

// Whether there is such a thread is seen when a file is read.
static struct node *make_thread(struct node *directory, const char *name, size_t length) {
    uint64_t tid;
    const char *end = name;
    if (!text_number(&end, &tid) || end != name + length || tid > INT32_MAX)
        return NULL;
    struct node *node = node_create(S_IFDIR | 0555);
    if (node) {
        node->directory.make = make_file;
        node->object = (void *)(uintptr_t)tid;
    }
    return node;
}

// Timer interrupts of each CPU: none comes to one that idles or runs a single thread but for what
// programs wait for.
static int show_interrupts(void *object, struct text *text) {
    text_add(text, "    ");
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        text_add(text, " CPU%u", cpu);
    text_add(text, "\nLOC:");
    for (unsigned cpu = 0; cpu < cpu_count(); cpu++)
        text_add(text, " %lu", timer_interrupts(cpu_at(cpu)));
    text_add(text, " Local timer interrupts\n");
    return 0;
}

// sched(7): what the urgent leave to the rest, in us; a runtime of -1 is no limit.
static int show_urgent(void *object, struct text *text) {
    uint64_t ns = *(const uint64_t *)object;
    text_add(text, "%ld\n", ns == RUN_UNLIMITED ? -1 : (int64_t)(ns / 1000));
    return 0;
}

static int store_urgent(void *object, char *text) {
    const char *at = text;
    uint64_t us, *ns = object;
    bool period = ns == &run_urgent_period, unlimited = !period && !strcmp(text, "-1");
    if (!unlimited && (!text_number(&at, &us) || *at || us > INT32_MAX || (period && !us)))
        return -EINVAL;
    uint64_t value = unlimited ? RUN_UNLIMITED : us * 1000;
    uint64_t runtime = period ? run_urgent_runtime : value;
    if (runtime != RUN_UNLIMITED && runtime > (period ? value : run_urgent_period))
        return -EINVAL;
    *ns = value;
    return 0;
}

static void add_urgent_files(void) {
    static const struct text_file period = {.name = "sched_rt_period_us",
                                            .show = show_urgent,
                                            .store = store_urgent},
                                  runtime = {.name = "sched_rt_runtime_us",
                                             .show = show_urgent,
                                             .store = store_urgent};
    struct node *directory;
    if (root_directory("/proc/sys/kernel", &directory))
        return;
    text_file_add(directory, &period, &run_urgent_period);
    text_file_add(directory, &runtime, &run_urgent_runtime);
}

// Time of each CPU in hundredths of a second (proc_stat(5)): all that is not idle counts as user,
// of which that of threads with a vCPU also as guest.
static int show_stat(void *object, struct text *text) {
    const uint64_t hundredth = 10000000;
    uint64_t now = time_now(), guest = 0, idle = 0;
    unsigned cpus = cpu_count();
    struct scheduler_counts counts;
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        scheduler_counts(cpu, &counts);
        guest += counts.guest;
        idle += counts.idle;
    }
    text_add(text, "cpu  %lu 0 0 %lu 0 0 0 0 %lu 0\n", (cpus * now - idle) / hundredth,
             idle / hundredth, guest / hundredth);
    for (unsigned cpu = 0; cpu < cpus; cpu++) {
        scheduler_counts(cpu, &counts);
        text_add(text, "cpu%u %lu 0 0 %lu 0 0 0 0 %lu 0\n", cpu, (now - counts.idle) / hundredth,
                 counts.idle / hundredth, counts.guest / hundredth);
    }
    return 0;
}

// proc_meminfo(5); Slab is all that the kernel keeps for itself.
static int show_memory(void *object, struct text *text) {
    size_t free = page_free_bytes(), kernel = kernel_memory_bytes();
    text_add(text, "MemTotal: %lu kB\nMemFree: %lu kB\nSlab: %lu kB\n",
             (free + page_user_bytes() + kernel) >> 10, free >> 10, kernel >> 10);
    return 0;
}

void proc_files_init(void) {
    static const struct text_file machine[] = {{.name = "interrupts", .show = show_interrupts},
                                               {.name = "stat", .show = show_stat},
                                               {.name = "meminfo", .show = show_memory}};
    struct node *proc;
    add_urgent_files();
    if (path_find(NULL, "/proc", 0, &proc))
        return;
    for (size_t i = 0; i < sizeof(machine) / sizeof(machine[0]); i++)
        text_file_add(proc, &machine[i], NULL);
    proc->directory.make = make_thread;
    node_put(proc);
}
