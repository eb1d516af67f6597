// SPDX-License-Identifier: BSD-2-Clause
// The system calls about scheduling, and membarrier.
#include <asm/errno.h>
#include <linux/membarrier.h>
#include <linux/sched.h>
#include "arch/x86/cpu.h"
#include "core/mm/address_space.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/system_call.h"
#include "core/sched/scheduler.h"
#include "core/string.h"

int64_t sys_sched_yield(const uint64_t *a) {
    (void)a;
    scheduler_yield();
    return 0;
}

// The thread of a tid argument (0: the caller), with a reference; NULL: none.
static struct thread *find(uint64_t tid) {
    if (tid)
        return thread_find((unsigned)tid);
    thread_get(thread_current());
    return thread_current();
}

int64_t sys_sched_getaffinity(const uint64_t *a) {
    uint64_t online[CPU_MAX / 64];
    struct thread *thread = find(a[0]);
    if (!thread)
        return -ESRCH;
    scheduler_online(online);
    for (unsigned word = 0; word < CPU_MAX / 64; word++)
        online[word] &= thread->affinity[word];
    thread_put(thread);
    // As Linux: as many bytes as its mask has, rounded to words; too small a buffer is refused.
    uint64_t bytes = (cpu_count() + 63) / 64 * 8;
    if (a[1] < bytes || a[1] % 8)
        return -EINVAL;
    return copy_to_user(a[2], online, bytes) ? -EFAULT : (int64_t)bytes;
}

int64_t sys_sched_setaffinity(const uint64_t *a) {
    uint64_t mask[CPU_MAX / 64] = {0};
    if (copy_from_user(mask, a[2], a[1] < sizeof mask ? a[1] : sizeof mask))
        return -EFAULT;
    struct thread *thread = find(a[0]);
    if (!thread)
        return -ESRCH;
    int error =
        process_may_control(thread->process) ? scheduler_set_affinity(thread, mask) : -EPERM;
    thread_put(thread);
    return error;
}

int64_t sys_sched_getparam(const uint64_t *a) {
    struct thread *thread = find(a[0]);
    int32_t priority = 0;
    if (!thread)
        return -ESRCH;
    thread_put(thread);
    return a[1] ? copy_to_user(a[1], &priority, sizeof priority) : -EINVAL;
}

int64_t sys_sched_getscheduler(const uint64_t *a) {
    struct thread *thread = find(a[0]);
    if (!thread)
        return -ESRCH;
    thread_put(thread);
    return SCHED_NORMAL;
}

int64_t sys_getcpu(const uint64_t *a) {
    uint32_t cpu = this_cpu()->index, node = 0;
    if (a[0] && copy_to_user(a[0], &cpu, sizeof cpu))
        return -EFAULT;
    return a[1] ? copy_to_user(a[1], &node, sizeof node) : 0;
}

// To be interrupted is a barrier by itself.
static void barrier(void *argument) {
    (void)argument;
    atomic_thread_fence(memory_order_seq_cst);
}

int64_t sys_membarrier(const uint64_t *a) {
    uint64_t cpus[CPU_MAX / 64];
    if (a[1])
        return -EINVAL;
    switch ((int)a[0]) {
    case MEMBARRIER_CMD_QUERY:
        return MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_PRIVATE_EXPEDITED |
               MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
    case MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED:
        return 0;
    case MEMBARRIER_CMD_GLOBAL:
        scheduler_online(cpus);
        break;
    case MEMBARRIER_CMD_PRIVATE_EXPEDITED:
        for (unsigned word = 0; word < CPU_MAX / 64; word++)
            cpus[word] = atomic_load(&process_current()->space->cpus[word]);
        break;
    default:
        return -EINVAL;
    }
    cpu_call(cpus, barrier, NULL);
    return 0;
}
