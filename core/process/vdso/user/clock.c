// SPDX-License-Identifier: BSD-2-Clause
// The vDSO: what programs ask most often, answered in user mode. Compiled into a shared object of
// its own (vdso.lds), not into the kernel. Names and results as in vdso(7).
#include <asm/unistd.h>
#include <linux/time.h>
#include <linux/time_types.h>
#include <stdint.h>
#include "arch/x86/cpu/segment.h"
#include "core/process/vdso/clock_data.h"

#define EXPORT      __attribute__((visibility("default")))
#define NS_A_SECOND 1000000000ull

extern const struct vdso_clock_data vdso_clock_data __attribute__((visibility("hidden")));

EXPORT int __vdso_clock_gettime(int clock, struct __kernel_timespec *time);
EXPORT int __vdso_clock_getres(int clock, struct __kernel_timespec *resolution);
EXPORT int __vdso_gettimeofday(struct __kernel_old_timeval *time, void *zone);
EXPORT int64_t __vdso_time(int64_t *time);
EXPORT int __vdso_getcpu(unsigned *cpu, unsigned *node, void *unused);

static int64_t system_call(long number, uint64_t first, uint64_t second) {
    int64_t result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(first), "S"(second)
                     : "rcx", "r11", "memory");
    return result;
}

// As the kernel's time_now(): both must agree to the tick.
static uint64_t now(void) {
    uint32_t low, high;
    // LFENCE: not before what the program did before it asked (SDM 2B, RDTSC).
    __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high)::"memory");
    uint64_t ticks = ((uint64_t)high << 32 | low) - vdso_clock_data.start;
    return (uint64_t)((unsigned __int128)ticks * vdso_clock_data.ns_a_tick >> 32);
}

static uint64_t realtime(void) {
    return now() + vdso_clock_data.realtime_offset;
}

int __vdso_clock_gettime(int clock, struct __kernel_timespec *time) {
    const unsigned real = 1u << CLOCK_REALTIME | 1u << CLOCK_REALTIME_COARSE | 1u << CLOCK_TAI;
    const unsigned monotonic = 1u << CLOCK_MONOTONIC | 1u << CLOCK_MONOTONIC_RAW |
                               1u << CLOCK_MONOTONIC_COARSE | 1u << CLOCK_BOOTTIME;
    unsigned bit = (unsigned)clock < 32 ? 1u << clock : 0;
    if (!(bit & (real | monotonic)))
        return (int)system_call(__NR_clock_gettime, (uint64_t)clock, (uintptr_t)time);
    uint64_t ns = bit & real ? realtime() : now();
    time->tv_sec = (__kernel_time64_t)(ns / NS_A_SECOND);
    time->tv_nsec = (long long)(ns % NS_A_SECOND);
    return 0;
}

int __vdso_clock_getres(int clock, struct __kernel_timespec *resolution) {
    return (int)system_call(__NR_clock_getres, (uint64_t)clock, (uintptr_t)resolution);
}

int __vdso_gettimeofday(struct __kernel_old_timeval *time, void *zone) {
    if (zone)
        return (int)system_call(__NR_gettimeofday, (uintptr_t)time, (uintptr_t)zone);
    if (time) {
        uint64_t microseconds = realtime() / 1000;
        time->tv_sec = (long)(microseconds / 1000000);
        time->tv_usec = (long)(microseconds % 1000000);
    }
    return 0;
}

int64_t __vdso_time(int64_t *time) {
    int64_t seconds = (int64_t)(realtime() / NS_A_SECOND);
    if (time)
        *time = seconds;
    return seconds;
}

int __vdso_getcpu(unsigned *cpu, unsigned *node, void *cache __attribute__((unused))) {
    uint64_t number;
    // The limit of a segment that nobody loads; each CPU has its number and its node there.
    __asm__("lsl %1, %0" : "=r"(number) : "r"((uint64_t)SEGMENT_CPU_NUMBER) : "cc");
    if (cpu)
        *cpu = number & 0xfff;
    if (node)
        *node = (unsigned)number >> 12;
    return 0;
}

#define ALIAS(name)                                                                                \
    EXPORT extern __typeof__(__vdso_##name) name __attribute__((alias("__vdso_" #name)))
ALIAS(clock_gettime);
ALIAS(clock_getres);
ALIAS(gettimeofday);
ALIAS(time);
ALIAS(getcpu);
