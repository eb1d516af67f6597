// SPDX-License-Identifier: BSD-2-Clause
// What core/file stands on, for unit tests: wait queues that work, one thread that never blocks.
// Sources: core/sched/wait_until.c
#include "tests/unit/fake_process.h"
#include <asm/prctl.h>
#include <linux/errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "arch/x86/cpu.h"
#include "core/file/fd_table.h"
#include "core/file/landlock.h"
#include "core/log.h"
#include "core/mm/address_space.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/random.h"
#include "core/sched/thread.h"
#include "core/sched/wait.h"
#include "tests/unit/fake_memory.h"

// Weak: another test may have its own in its own file.
#define FAKE __attribute__((weak))

uint64_t fake_time = 1000;
int fake_last_signal;

static struct cpu cpu;
static struct thread thread;
static struct process process;
static void (*wait_function)(void);

struct process *fake_process_start(void) {
    fake_memory_start();
    cpu.self = &cpu;
    cpu.current = &thread;
    thread.process = &process;
    process.pid = 7;
    process.limits[RLIMIT_NOFILE] = (struct rlimit_value){1024, FD_MAX};
    memcpy(process.working_directory, "/", 2);
    syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu); // user space of x86-64 leaves GS alone
    process.files = fd_table_create();
    return &process;
}

void fake_on_wait(void (*function)(void)) {
    wait_function = function;
}

// Strong: core/mm's tests are content with these too.
void wait_queue_init(struct wait_queue *queue) {
    *queue = (struct wait_queue){0};
    list_init(&queue->waiters);
}

void waiter_init(struct waiter *waiter) {
    *waiter = (struct waiter){0};
    list_init(&waiter->node);
}

void waiter_init_callback(struct waiter *waiter,
                          void (*wake)(struct waiter *waiter, unsigned events)) {
    waiter_init(waiter);
    waiter->wake = wake;
}

void waiter_add(struct waiter *waiter, struct wait_queue *queue) {
    spin_lock(&queue->lock);
    waiter->queue = queue;
    list_push_back(&queue->waiters, &waiter->node);
    spin_unlock(&queue->lock);
}

void waiter_remove(struct waiter *waiter) {
    struct wait_queue *queue = waiter->queue;
    if (!queue)
        return;
    spin_lock(&queue->lock);
    list_remove(&waiter->node);
    waiter->queue = NULL;
    spin_unlock(&queue->lock);
}

void wait_queue_wake(struct wait_queue *queue, unsigned events) {
    spin_lock(&queue->lock);
    list_for_each_safe(node, &queue->waiters) {
        struct waiter *waiter = container_of(node, struct waiter, node);
        if (waiter->wake)
            waiter->wake(waiter, events);
    }
    spin_unlock(&queue->lock);
}

FAKE void wait_prepare(void) {
}

FAKE int wait(uint64_t deadline) {
    void (*function)(void) = wait_function;
    wait_function = NULL;
    if (function) {
        function();
        return 0;
    }
    if (deadline == TIME_NEVER)
        return -EINTR;
    fake_time = deadline;
    return -ETIMEDOUT;
}

FAKE bool thread_interrupted(void) {
    return false;
}

FAKE uint64_t time_now(void) {
    return fake_time;
}

FAKE uint64_t time_realtime_offset(void) {
    return 0;
}

FAKE unsigned cpu_count(void) {
    return 4;
}

FAKE void random_bytes(void *to, size_t size) {
    memset(to, 0x5a, size);
}

FAKE void signal_broken_pipe(void) {
    fake_last_signal = 13; // SIGPIPE
}

FAKE void signal_mask_set_temporarily(uint64_t blocked) {
    (void)blocked;
}

FAKE int landlock_check(struct node *node, struct node *directory, uint64_t access) {
    (void)node, (void)directory, (void)access;
    return 0;
}

FAKE int landlock_check_refer(struct node *node, struct node *from, struct node *to) {
    (void)node;
    (void)from, (void)to;
    return 0;
}

FAKE struct file *console_open(void *object, int flags, int *error) {
    (void)object;
    (void)flags;
    *error = -ENODEV;
    return NULL;
}

FAKE struct file *serial_open(void *object, int flags, int *error) {
    return console_open(object, flags, error);
}

FAKE void log_line(const char *format, ...) {
    (void)format;
}

// Addresses below the first page are not mapped.
static int check_user(uint64_t address, size_t size) {
    return (address < 4096 || address > USER_END - size) && size ? -EFAULT : 0;
}

FAKE int copy_from_user(void *to, uint64_t from, size_t size) {
    int error = check_user(from, size);
    if (!error && size)
        memcpy(to, (const void *)(uintptr_t)from, size);
    return error;
}

FAKE int copy_to_user(uint64_t to, const void *from, size_t size) {
    int error = check_user(to, size);
    if (!error && size)
        memcpy((void *)(uintptr_t)to, from, size);
    return error;
}

FAKE int clear_user(uint64_t to, size_t size) {
    int error = check_user(to, size);
    if (!error && size)
        memset((void *)(uintptr_t)to, 0, size);
    return error;
}

FAKE int64_t copy_string_from_user(char *to, uint64_t from, size_t size) {
    if (check_user(from, 1))
        return -EFAULT;
    size_t length = strnlen((const char *)(uintptr_t)from, size);
    if (length == size)
        return -ENAMETOOLONG;
    memcpy(to, (const char *)(uintptr_t)from, length + 1);
    return (int64_t)length;
}

FAKE int user_load_32(uint32_t *value, uint64_t from) {
    return copy_from_user(value, from, sizeof(*value));
}

FAKE int user_store_32(uint64_t to, uint32_t value) {
    return copy_to_user(to, &value, sizeof(value));
}

FAKE int user_store_64(uint64_t to, uint64_t value) {
    return copy_to_user(to, &value, sizeof(value));
}

static void pad(struct fake_archive *archive) {
    while (archive->size % 4)
        archive->bytes[archive->size++] = 0;
}

void fake_archive_add(struct fake_archive *archive, const char *name, uint32_t mode, uint32_t inode,
                      uint32_t links, const void *data, size_t size) {
    int length = sprintf((char *)archive->bytes + archive->size,
                         "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x%s", inode,
                         mode, 0, 0, links, 1000, size, 8, 1, 0, 0, strlen(name) + 1, 0, name);
    archive->size += (size_t)length + 1;
    pad(archive);
    if (size)
        memcpy(archive->bytes + archive->size, data, size);
    archive->size += size;
    pad(archive);
}
