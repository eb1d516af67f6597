// SPDX-License-Identifier: BSD-2-Clause
// A count of those inside, and a condition for those who wait.
#include "run_gate.h"

void run_gate_init(struct run_gate *gate, bool closed) {
    *gate = (struct run_gate){
        .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .closed = closed};
}

void run_gate_enter(struct run_gate *gate, const bool *excused, const bool *barred) {
    pthread_mutex_lock(&gate->lock);
    while ((gate->closed || (barred && *barred)) && !gate->broken && !(excused && *excused)) {
        pthread_cond_wait(&gate->changed, &gate->lock);
    }
    gate->inside++;
    pthread_mutex_unlock(&gate->lock);
}

void run_gate_leave(struct run_gate *gate) {
    pthread_mutex_lock(&gate->lock);
    gate->inside--;
    pthread_mutex_unlock(&gate->lock);
}

void run_gate_close(struct run_gate *gate) {
    gate->closed = true;
}

bool run_gate_empty(struct run_gate *gate) {
    pthread_mutex_lock(&gate->lock);
    bool empty = gate->inside == 0;
    pthread_mutex_unlock(&gate->lock);
    return empty;
}

static void let_through(struct run_gate *gate) {
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

void run_gate_open(struct run_gate *gate) {
    pthread_mutex_lock(&gate->lock);
    gate->closed = false;
    let_through(gate);
}

void run_gate_set(struct run_gate *gate, bool *flag, bool value) {
    pthread_mutex_lock(&gate->lock);
    __atomic_store_n(flag, value, __ATOMIC_SEQ_CST);
    let_through(gate);
}

void run_gate_break(struct run_gate *gate) {
    pthread_mutex_lock(&gate->lock);
    gate->broken = true;
    let_through(gate);
}
