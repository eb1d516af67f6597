// SPDX-License-Identifier: BSD-2-Clause
// Conversions between struct timespec and ns.
#include "core/process/time.h"
#include <asm/errno.h>

#include "arch/x86/cpu.h"
#include "core/mm/user_copy.h"
#include "core/sched/wait.h"

bool time_spec_valid(const struct __kernel_timespec *time) {
    return time->tv_sec >= 0 && (uint64_t)time->tv_nsec < NS_PER_SECOND;
}

uint64_t time_spec_ns(const struct __kernel_timespec *time) {
    uint64_t ns;
    if (__builtin_mul_overflow((uint64_t)time->tv_sec, NS_PER_SECOND, &ns) ||
        __builtin_add_overflow(ns, (uint64_t)time->tv_nsec, &ns))
        return TIME_NEVER;
    return ns;
}

void time_spec_from_ns(struct __kernel_timespec *time, uint64_t ns) {
    time->tv_sec = (__kernel_time64_t)(ns / NS_PER_SECOND);
    time->tv_nsec = (long long)(ns % NS_PER_SECOND);
}

struct time_value time_value_from_ns(uint64_t ns) {
    return (struct time_value){(int64_t)(ns / NS_PER_SECOND), (int64_t)(ns % NS_PER_SECOND / 1000)};
}

uint64_t time_value_ns(const struct time_value *time) {
    uint64_t us;
    return __builtin_mul_overflow((uint64_t)time->seconds, 1000000, &us) ||
                   __builtin_add_overflow(us, (uint64_t)time->microseconds, &us) ||
                   us > TIME_NEVER / 1000
               ? TIME_NEVER
               : us * 1000;
}

uint64_t time_after(uint64_t ns) {
    uint64_t deadline;
    return __builtin_add_overflow(ns, time_now(), &deadline) ? TIME_NEVER : deadline;
}

uint64_t time_deadline(const struct __kernel_timespec *time, bool absolute, bool realtime) {
    uint64_t ns = time_spec_ns(time);
    if (ns == TIME_NEVER || !absolute)
        return time_after(ns);
    uint64_t offset = realtime ? time_realtime_offset() : 0;
    return ns > offset ? ns - offset : 0;
}

int time_deadline_load(uint64_t address, bool absolute, bool realtime, uint64_t *deadline) {
    struct __kernel_timespec time;
    *deadline = TIME_NEVER;
    if (!address)
        return 0;
    if (copy_from_user(&time, address, sizeof time))
        return -EFAULT;
    if (!time_spec_valid(&time))
        return -EINVAL;
    *deadline = time_deadline(&time, absolute, realtime);
    return 0;
}
