// SPDX-License-Identifier: BSD-2-Clause
// What the host's processors have done and its memory holds: proc(5).
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct host_cpu {
    uint64_t user, system, idle, iowait, guest; // ns; user has guest in it
};

// A processor, or with -1 all together. False: there is none of that number.
bool host_cpu(int number, struct host_cpu *cpu);

// KiB of a row of /proc/meminfo, such as "MemFree"; 0: there is no such row.
uint64_t host_memory(const char *row);
