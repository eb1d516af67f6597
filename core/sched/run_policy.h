// SPDX-License-Identifier: BSD-2-Clause
// What sched_setattr(2) says of a thread. Plain code.
#pragma once
#include <stdint.h>

#define RUN_SLICE_LEAST 100000u    // ns; what sched_attr may ask for
#define RUN_SLICE_MOST  100000000u // ns

struct run_policy {
    uint32_t policy;   // SCHED_* of <linux/sched.h>
    int32_t nice;      // -20 to 19
    uint32_t priority; // SCHED_FIFO, SCHED_RR: 1 to 99; else 0
    // SCHED_DEADLINE: ns. The others: runtime is the slice, 0 the default one.
    uint64_t runtime, deadline, period;
};

// 0, or -EINVAL: no such policy, or a number out of its range.
int run_policy_check(const struct run_policy *policy);
// Of nice -20 to 19, in units of RUN_WEIGHT_DEFAULT: a step is a factor of 1.25.
uint32_t run_nice_weight(int nice);
