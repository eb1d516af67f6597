// SPDX-License-Identifier: BSD-2-Clause
// The gate that vCPUs and devices' threads stand behind while they work for the guest: closed, the
// machine is paused.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct run_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_bool closed;
    bool broken;     // the machine has ended: nobody waits any more
    unsigned inside; // threads at work
};

void run_gate_init(struct run_gate *gate, bool closed);

// Waits until the gate is open and *barred not set, or *excused is (NULL: nobody's flag);
// run_gate_leave is called after the work.
void run_gate_enter(struct run_gate *gate, const bool *excused, const bool *barred);
void run_gate_leave(struct run_gate *gate);

// Nobody enters any more. Who is inside has to be asked out; see run_gate_empty.
void run_gate_close(struct run_gate *gate);
bool run_gate_empty(struct run_gate *gate);

void run_gate_open(struct run_gate *gate);

// Changes a flag that may be waited with: who is excused goes through, for a thread inside waits
// for him; who is barred stays out once he has left.
void run_gate_set(struct run_gate *gate, bool *flag, bool value);

// Lets everybody through, for good.
void run_gate_break(struct run_gate *gate);
