// SPDX-License-Identifier: BSD-2-Clause
// Which scheduling attributes make sense, and what nice means.
#include <asm/errno.h>
#include <linux/sched.h>
#include "core/sched/run_group.h"
#include "core/sched/run_policy.h"

// Shorter reservations than the time of a switch, longer ones than the arithmetic: as Linux's
// sched_deadline_period_{min,max}_us, and DL_SCALE.
#define RESERVATION_LEAST       1024u
#define RESERVATION_PERIOD      100000u
#define RESERVATION_PERIOD_MOST 4194304000u

static int check_reservation(const struct run_policy *policy) {
    bool good = policy->runtime >= RESERVATION_LEAST && policy->runtime <= policy->deadline &&
                policy->deadline <= policy->period && policy->period >= RESERVATION_PERIOD &&
                policy->period <= RESERVATION_PERIOD_MOST;
    return good ? 0 : -EINVAL;
}

int run_policy_check(const struct run_policy *policy) {
    bool fixed = policy->policy == SCHED_FIFO || policy->policy == SCHED_RR;
    if (fixed ? policy->priority < 1 || policy->priority > 99 : policy->priority != 0)
        return -EINVAL;
    switch (policy->policy) {
    case SCHED_DEADLINE:
        return check_reservation(policy);
    case SCHED_NORMAL:
    case SCHED_BATCH:
    case SCHED_IDLE:
        if (policy->nice < -20 || policy->nice > 19)
            return -EINVAL;
        if (policy->runtime &&
            (policy->runtime < RUN_SLICE_LEAST || policy->runtime > RUN_SLICE_MOST))
            return -EINVAL;
        return 0;
    default:
        return fixed ? 0 : -EINVAL;
    }
}

uint32_t run_nice_weight(int nice) {
    uint32_t weight = RUN_WEIGHT_DEFAULT;
    for (; nice > 0; nice--)
        weight = weight / 5 * 4;
    for (; nice < 0; nice++)
        weight += weight / 4;
    return weight;
}
