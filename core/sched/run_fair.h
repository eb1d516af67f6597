// SPDX-License-Identifier: BSD-2-Clause
// The virtual time of the fair entities of a queue (run_queue.h), queued or current. Plain code;
// the queue's lock is held.
#pragma once
#include "core/sched/run_queue.h"

uint64_t run_fair_clock(const struct run_queue *queue); // the average, comparable between queues

// Into the averages by the lag it left with, with a new deadline; and out of them.
void run_fair_enter(struct run_queue *queue, struct run_entity *entity);
void run_fair_leave(struct run_queue *queue, struct run_entity *entity);

// Time it has had, and virtual time it gives up.
void run_fair_charge(struct run_queue *queue, struct run_entity *entity, uint64_t ns);
void run_fair_advance(struct run_queue *queue, struct run_entity *entity, int64_t virtual_ns);

void run_fair_set_deadline(struct run_entity *entity); // for its next request

// The share of the current one in its group may have changed; what it has to get stays the same.
void run_fair_refresh(struct run_queue *queue, struct run_entity *entity);

// Whether who has had this virtual time may run: virtual_time <= average.
bool run_fair_eligible(const struct run_queue *queue, uint64_t virtual_time);

// The lag within the bound for this entity.
int64_t run_fair_bounded_lag(const struct run_entity *entity, int64_t lag);
