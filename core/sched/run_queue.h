// SPDX-License-Identifier: BSD-2-Clause
// A CPU's run queue: weighted fair, earliest virtual deadline first among the eligible (EEVDF). Plain data structure, compiles on
// the build host; the caller holds the run queue's lock.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct run_entity {
    struct run_entity *left, *right, *parent; // owner's choice of tree
    uint64_t virtual_time, virtual_deadline;
    uint64_t run_time;     // ns on a CPU so far
    uint32_t weight;       // 1024 is nice 0
    uint32_t slice;        // ns
    bool queued;
};

struct run_queue;
