// SPDX-License-Identifier: BSD-2-Clause
// RAM, page tables and a thread for unit tests of core/mm: physical address 0 is the start of an
// aligned block of the host.
#pragma once
#include <stdint.h>

struct memory_account;

enum { FAKE_RAM_SIZE = 64 << 20 };

// The allocator over fresh RAM. Each test runs in a process of its own.
void fake_memory_start(void);
extern struct memory_account *fake_account; // who allocates; NULL: the kernel
struct numa_place;
extern struct numa_place fake_place; // where it wants pages
// TLB shootdowns asked for so far, and the range of the last.
struct fake_flush {
    unsigned count;
    uint64_t address, size;
};
extern struct fake_flush fake_flush;
extern int fake_wait_result;            // -EINTR: the thread that waits was killed
extern unsigned fake_preemption_points; // passed so far
