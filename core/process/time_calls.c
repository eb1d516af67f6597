// SPDX-License-Identifier: BSD-2-Clause
// The system calls that read clocks and sleep.
#include <asm/errno.h>
#include <linux/time.h>
#include <linux/times.h>
#include "arch/x86/cpu.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/process_table.h"
#include "core/process/system_call.h"
#include "core/process/time.h"
#include "core/sched/wait.h"

uint64_t process_run_time(struct process *process) {
    spin_lock(&process->lock);
    uint64_t total = process->run_time;
    list_for_each(node, &process->threads) total +=
        thread_run_time(container_of(node, struct thread, process_node));
    spin_unlock(&process->lock);
    return total;
}

// The CPU-time clock of another process or thread: its number's complement above three bits, of
// which one says thread and two which time (pthread_getcpuclockid(3), clock_getcpuclockid(3)).
static int read_cpu_clock(int clock, uint64_t *ns) {
    enum { OF_THREAD = 4, KIND = 3, DESCRIPTOR = 3 };
    unsigned id = (unsigned)~clock >> 3;
    if (clock >= 0 || (clock & KIND) == DESCRIPTOR)
        return -EINVAL;
    if (clock & OF_THREAD) {
        struct thread *thread = id ? thread_find(id) : thread_current();
        if (!thread || thread->process != process_current()) {
            if (thread)
                thread_put(thread);
            return -EINVAL;
        }
        *ns = thread_run_time(thread);
        if (id)
            thread_put(thread);
        return 0;
    }
    struct process *process = id ? process_find(id) : process_current();
    if (!process)
        return -EINVAL;
    *ns = process_run_time(process);
    if (id)
        process_put(process);
    return 0;
}

// ns of a clock; -EINVAL: no such clock.
static int read_clock(uint64_t clock, uint64_t *ns) {
    switch ((int)clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        *ns = time_now() + time_realtime_offset();
        return 0;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        *ns = time_now();
        return 0;
    case CLOCK_PROCESS_CPUTIME_ID:
        *ns = process_run_time(process_current());
        return 0;
    case CLOCK_THREAD_CPUTIME_ID:
        *ns = thread_run_time(thread_current());
        return 0;
    default:
        return read_cpu_clock((int)clock, ns);
    }
}

int64_t sys_clock_gettime(const uint64_t *a) {
    struct __kernel_timespec time;
    uint64_t ns;
    int error = read_clock(a[0], &ns);
    if (error)
        return error;
    time_spec_from_ns(&time, ns);
    return copy_to_user(a[1], &time, sizeof time);
}

int64_t sys_clock_getres(const uint64_t *a) {
    struct __kernel_timespec resolution = {.tv_nsec = 1};
    uint64_t ns;
    int error = read_clock(a[0], &ns);
    if (error)
        return error;
    return a[1] ? copy_to_user(a[1], &resolution, sizeof resolution) : 0;
}

int64_t sys_gettimeofday(const uint64_t *a) {
    struct time_value time = time_value_from_ns(time_now() + time_realtime_offset());
    int32_t zone[2] = {0, 0};
    if (a[0] && copy_to_user(a[0], &time, sizeof time))
        return -EFAULT;
    return a[1] ? copy_to_user(a[1], zone, sizeof zone) : 0;
}

int64_t sys_time(const uint64_t *a) {
    uint64_t seconds = (time_now() + time_realtime_offset()) / NS_PER_SECOND;
    if (a[0] && user_store_64(a[0], seconds))
        return -EFAULT;
    return (int64_t)seconds;
}

static int64_t sleep_until(uint64_t deadline, bool absolute, uint64_t remaining) {
    int error = 0;
    while (!error) {
        wait_prepare();
        error = wait(deadline);
    }
    if (error == -ETIMEDOUT)
        return 0;
    if (absolute)
        return -ERESTARTNOHAND;
    if (remaining) {
        struct __kernel_timespec left;
        uint64_t now = time_now();
        time_spec_from_ns(&left, deadline > now ? deadline - now : 0);
        if (copy_to_user(remaining, &left, sizeof left))
            return -EFAULT;
    }
    return -EINTR;
}

int64_t sys_clock_nanosleep(const uint64_t *a) {
    int clock = (int)a[0];
    bool absolute = a[1] & TIMER_ABSTIME, realtime = clock == CLOCK_REALTIME || clock == CLOCK_TAI;
    uint64_t deadline;
    if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME &&
        clock != CLOCK_TAI)
        return clock == CLOCK_PROCESS_CPUTIME_ID ? -EOPNOTSUPP : -EINVAL;
    int error = a[2] ? time_deadline_load(a[2], absolute, realtime, &deadline) : -EFAULT;
    return error ? error : sleep_until(deadline, absolute, a[3]);
}

// In hundredths of a second (_SC_CLK_TCK). All time counts as the user's.
int64_t sys_times(const uint64_t *a) {
    const uint64_t tick = NS_PER_SECOND / 100;
    struct process *process = process_current();
    struct tms times = {
        .tms_utime = (__kernel_clock_t)(process_run_time(process) / tick),
        .tms_cutime = (__kernel_clock_t)(process->children_run_time / tick),
    };
    if (a[0] && copy_to_user(a[0], &times, sizeof times))
        return -EFAULT;
    return (int64_t)(time_now() / tick);
}
