// SPDX-License-Identifier: BSD-2-Clause
// User-space times and the kernel's ns scale.
#pragma once
#include <linux/time_types.h>
#include <stdbool.h>
#include <stdint.h>

#define NS_PER_SECOND 1000000000ull

bool time_spec_valid(const struct __kernel_timespec *time);
// ns; saturates.
uint64_t time_spec_ns(const struct __kernel_timespec *time);
void time_spec_from_ns(struct __kernel_timespec *time, uint64_t ns);
struct time_value { // struct timeval of the 64-bit ABI
    int64_t seconds, microseconds;
};
struct time_value time_value_from_ns(uint64_t ns);
uint64_t time_value_ns(const struct time_value *time); // not of a negative one; saturates
uint64_t time_after(uint64_t ns);                      // that long from now; saturates
// The deadline on time_now()'s scale that a valid time means: from now, or on CLOCK_MONOTONIC, or
// (absolute and realtime) on CLOCK_REALTIME.
uint64_t time_deadline(const struct __kernel_timespec *time, bool absolute, bool realtime);
// The same of a user's struct timespec; address 0: TIME_NEVER. 0, -EFAULT, -EINVAL.
int time_deadline_load(uint64_t address, bool absolute, bool realtime, uint64_t *deadline);
