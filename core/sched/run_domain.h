// SPDX-License-Identifier: BSD-2-Clause
// The CPUs among which threads move: placement of the woken, balance by the busy and the idle,
// admission of reservations. Plain code; takes the queues' locks itself unless said otherwise.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/sched/run_queue.h"

#define RUN_NODES 16

struct run_domain {
    unsigned count; // of CPUs: those below have a queue
    struct run_queue *queues[RUN_CPUS];
    _Atomic uint64_t online[RUN_CPU_WORDS], idle[RUN_CPU_WORDS]; // bit per CPU
    unsigned core[RUN_CPUS], node[RUN_CPUS];                     // numbers of a CPU's
    unsigned sibling[RUN_CPUS];                                  // the core's next CPU, in a ring
    uint64_t node_cpus[RUN_NODES][RUN_CPU_WORDS];
    bool several_nodes;
    struct spinlock admission; // below the queues' locks
};

// The queue takes part from now on, idle. Any number for its core, below RUN_NODES for its node.
void run_domain_join(struct run_domain *domain, struct run_queue *queue, unsigned core,
                     unsigned node);
// After each pick that changes this or finds nothing: who places a thread on an idle CPU makes it
// count as busy.
void run_domain_set_idle(struct run_domain *domain, unsigned cpu, bool idle);
// Where to add an entity that is nowhere; `from`: the waker's or creator's CPU. Its last CPU if
// that idles (its cache may be warm), another idle one, first of its node and of a core that idles,
// the one of those near at hand that has least to do.
struct run_queue *run_domain_place(struct run_domain *domain, struct run_entity *entity,
                                   struct run_queue *from, bool created);
// Fetches one that waits elsewhere to a CPU that is about to idle. True: something was fetched.
bool run_domain_pull(struct run_domain *domain, struct run_queue *queue, uint64_t now);
// Called at the end of slices on a CPU on which some wait: gives one to a CPU that idles or that
// serves its own better. The queue whose CPU must reschedule; NULL: none.
struct run_queue *run_domain_push(struct run_domain *domain, struct run_queue *queue, uint64_t now);

// Before an entity's policy or CPUs change: sets its `allowed` to the mask or, where the policy is
// a reservation, to the one of those CPUs that can keep it beside those it keeps, and notes it
// there; what it had reserved is given back. The lock of its queue is held. 0, or -EBUSY with
// nothing changed.
int run_domain_admit(struct run_domain *domain, struct run_entity *entity,
                     const struct run_policy *policy, const uint64_t mask[RUN_CPU_WORDS]);
// An entity ends: the same for what it had reserved.
void run_domain_dismiss(struct run_domain *domain, struct run_entity *entity);
