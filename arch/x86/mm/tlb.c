// SPDX-License-Identifier: BSD-2-Clause
// TLB shootdown.
#include "arch/x86/paging.h"
#include "arch/x86/cpu.h"
#include "arch/x86/cpu/instruction.h"
#include "core/mm/page.h"

// Above this many pages a CR3 load is cheaper than INVLPG for each.
enum { FLUSH_ALL_PAGES = 32 };

struct flush_range {
    uint64_t address, end;
};

static void flush_here(void *argument) {
    const struct flush_range *range = argument;
    if (range->end - range->address > FLUSH_ALL_PAGES * PAGE_SIZE) {
        write_cr3(read_cr3());
        return;
    }
    for (uint64_t page = range->address & PAGE_MASK; page < range->end; page += PAGE_SIZE)
        invalidate_page(page);
}

void tlb_flush(const uint64_t cpus[4], uint64_t address, uint64_t size) {
    struct flush_range range = {address, address + size};
    cpu_call(cpus, flush_here, &range);
}
