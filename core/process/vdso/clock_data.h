// SPDX-License-Identifier: BSD-2-Clause
// The page that the vDSO reads: how to make time from the TSC. Written once, before the first
// program.
#pragma once
#include <stdint.h>

struct vdso_clock_data {
    uint64_t start;           // TSC at time 0
    uint64_t ns_a_tick;       // 32.32 fixed point
    uint64_t realtime_offset; // ns to add for the Unix epoch
};
