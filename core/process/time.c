// SPDX-License-Identifier: BSD-2-Clause
// Conversions between struct timespec and ns.
#include "core/process/time.h"
#include "arch/x86/cpu.h"
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

uint64_t time_deadline(const struct __kernel_timespec *time, bool absolute, bool realtime) {
    uint64_t ns = time_spec_ns(time), deadline;
    if (ns == TIME_NEVER)
        return TIME_NEVER;
    if (absolute) {
        uint64_t offset = realtime ? time_realtime_offset() : 0;
        return ns > offset ? ns - offset : 0;
    }
    return __builtin_add_overflow(ns, time_now(), &deadline) ? TIME_NEVER : deadline;
}
