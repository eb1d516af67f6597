// SPDX-License-Identifier: BSD-2-Clause
// Which address space a CPU has loaded. A CPU is in space->cpus from before it loads the table
// until after it has loaded another.
#include "arch/x86/cpu.h"
#include "arch/x86/paging.h"
#include "core/mm/address_space.h"
#include "core/mm/page.h"

void address_space_switch(struct address_space *space) {
    struct cpu *cpu = this_cpu();
    struct address_space *old = cpu->space;
    if (old == space)
        return;
    unsigned long bit = 1ul << (cpu->index % 64);
    if (space)
        atomic_fetch_or(&space->cpus[cpu->index / 64], bit);
    page_table_load(space ? space->page_table : PHYSICAL_NONE);
    cpu->space = space;
    if (old)
        atomic_fetch_and(&old->cpus[cpu->index / 64], ~bit);
}

static void leave_here(void *argument) {
    if (this_cpu()->space == argument)
        address_space_switch(NULL);
}

void address_space_leave(struct address_space *space) {
    uint64_t mask[4], any = 0;
    leave_here(space);
    for (unsigned i = 0; i < 4; i++)
        any |= mask[i] = atomic_load(&space->cpus[i]);
    if (any)
        cpu_call(mask, leave_here, space);
}
