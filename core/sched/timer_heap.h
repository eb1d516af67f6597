// SPDX-License-Identifier: BSD-2-Clause
// The pairing heap of timers by deadline. Plain code. Each function returns the new root; NULL is
// the empty heap.
#pragma once
#include "core/sched/timer.h"

struct timer *timer_heap_insert(struct timer *root, struct timer *timer);
// timer must be in this heap.
struct timer *timer_heap_remove(struct timer *root, struct timer *timer);
