// SPDX-License-Identifier: BSD-2-Clause
// The kernel's own page table. Its upper half is shared by all: the top-level entries it needs are
// made here, once, so that page_table_create copies them and nothing ever needs to be brought in
// line.
#include "arch/x86/mm/kernel_space.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/mm/page_walker.h"
#include "boot/boot_info.h"
#include "core/log.h"
#include "core/mm/page.h"
#include "core/sched/spinlock.h"

// The window for MMIO and stacks: in the same top-level entry as the kernel image.
#define WINDOW_BASE 0xffffff8000000000ull
#define WINDOW_END  0xffffffff00000000ull

#define SIZE_2M (1ull << 21)
#define SIZE_1G (1ull << 30)

extern char kernel_start[], kernel_text_start[], kernel_text_end[], kernel_rodata_start[],
    kernel_rodata_end[], kernel_data_start[], kernel_end[];

static struct {
    struct spinlock lock;
    uint64_t root;
    uint64_t next; // lowest address of the window not given out yet
} space = {.next = WINDOW_BASE};

uint64_t kernel_space_root(void) {
    return space.root;
}

bool kernel_space_readable(uint64_t address) {
    if (!space.root) // the loader's tables
        return address >= (uint64_t)kernel_start && address < (uint64_t)kernel_end;
    return page_walker_lookup(&host_format, space.root, address).size != 0;
}

static void map(uint64_t address, uint64_t physical, uint64_t size, unsigned flags) {
    int error =
        page_walker_map(&host_format, space.root, address, physical, size, flags | PAGING_GLOBAL);
    if (error)
        panic("mapping %lx at %lx: error %d", physical, address, error);
}

static uint64_t largest_page(uint64_t physical, uint64_t end, bool gigabyte_pages) {
    if (gigabyte_pages && !(physical & (SIZE_1G - 1)) && end - physical >= SIZE_1G)
        return SIZE_1G;
    return !(physical & (SIZE_2M - 1)) && end - physical >= SIZE_2M ? SIZE_2M : PAGE_SIZE;
}

static void map_direct(uint64_t base, uint64_t end, bool gigabyte_pages) {
    while (base < end) {
        uint64_t size = largest_page(base, end, gigabyte_pages);
        map(DIRECT_MAP_BASE + base, base, size, PAGING_WRITE);
        base += size;
    }
}

// RAM only, and not the kernel's code and constants: those have no second, writable name.
static void map_ram(const struct boot_info *info) {
    bool gigabyte_pages = read_cpuid(0x80000001, 0).edx & 1u << 26;
    uint64_t sealed = info->kernel_physical;
    uint64_t sealed_end = sealed + (uint64_t)(kernel_rodata_end - kernel_start);
    for (uint32_t i = 0; i < info->memory_range_count;) {
        if (info->memory[i].type == BOOT_MEMORY_RESERVED) {
            i++;
            continue;
        }
        uint64_t base = info->memory[i].base, end = base;
        for (; i < info->memory_range_count && info->memory[i].base == end &&
               info->memory[i].type != BOOT_MEMORY_RESERVED;
             i++)
            end += info->memory[i].size;
        if (base < sealed_end && sealed < end) {
            if (base < sealed)
                map_direct(base, sealed, gigabyte_pages);
            base = sealed_end;
        }
        map_direct(base, end, gigabyte_pages);
    }
}

static void map_image(const struct boot_info *info, const char *start, const char *end,
                      unsigned flags) {
    for (const char *page = start; page < end; page += PAGE_SIZE)
        map((uint64_t)page, info->kernel_physical + (uint64_t)(page - kernel_start), PAGE_SIZE,
            flags);
}

void kernel_space_init(const struct boot_info *info) {
    space.root = page_walker_create(&host_format);
    if (space.root == PHYSICAL_NONE)
        panic("no memory for page tables");
    map_image(info, kernel_text_start, kernel_text_end, PAGING_EXECUTE);
    map_image(info, kernel_rodata_start, kernel_rodata_end, 0);
    map_image(info, kernel_data_start, kernel_end, PAGING_WRITE);
    map_ram(info);
    write_cr3(space.root);
}

// Lock held. Address of `size` bytes of window after `guard` unmapped bytes; 0: window used up.
static uint64_t window_take(uint64_t guard, uint64_t size) {
    if (space.next + guard + size > WINDOW_END)
        return 0;
    uint64_t address = space.next + guard;
    space.next = address + size;
    return address;
}

static void *map_window(uint64_t physical, uint64_t size, unsigned flags) {
    uint64_t offset = physical & ~PAGE_MASK;
    uint64_t length = (offset + size + PAGE_SIZE - 1) & PAGE_MASK;
    spin_lock(&space.lock);
    uint64_t address = window_take(0, length);
    int error = address ? 0 : -1;
    for (uint64_t done = 0; !error && done < length; done += PAGE_SIZE)
        error = page_walker_map(&host_format, space.root, address + done,
                                (physical & PAGE_MASK) + done, PAGE_SIZE, flags | PAGING_GLOBAL);
    spin_unlock(&space.lock);
    return error ? NULL : (void *)(address + offset);
}

void *kernel_map_mmio(uint64_t physical, uint64_t size) {
    return map_window(physical, size, PAGING_WRITE | PAGING_UNCACHED);
}

void *kernel_map_write_combining(uint64_t physical, uint64_t size) {
    return map_window(physical, size, PAGING_WRITE | PAGING_WRITE_COMBINING);
}

const void *kernel_space_physical(uint64_t physical, uint64_t size) {
    uint64_t end = physical + size;
    for (uint64_t page = physical & PAGE_MASK; page < end;) {
        struct page_table_entry entry =
            page_walker_lookup(&host_format, space.root, DIRECT_MAP_BASE + page);
        if (!entry.size)
            return map_window(physical, size, PAGING_UNCACHED);
        page = (page & ~(entry.size - 1)) + entry.size;
    }
    return page_to_virtual(physical);
}

int kernel_space_map(uint64_t address, uint64_t physical, uint64_t size) {
    int error = 0;
    spin_lock(&space.lock);
    for (uint64_t done = 0; !error && done < size; done += PAGE_SIZE)
        error = page_walker_map(&host_format, space.root, address + done, physical + done,
                                PAGE_SIZE, PAGING_WRITE | PAGING_GLOBAL);
    spin_unlock(&space.lock);
    return error;
}

uint64_t kernel_space_unmap(uint64_t address, uint64_t size) {
    spin_lock(&space.lock);
    uint64_t physical = page_walker_unmap(&host_format, space.root, address).physical;
    for (uint64_t done = PAGE_SIZE; done < size; done += PAGE_SIZE)
        page_walker_unmap(&host_format, space.root, address + done);
    spin_unlock(&space.lock);
    return physical;
}

uint64_t kernel_space_guarded_window(uint64_t size) {
    spin_lock(&space.lock);
    uint64_t address = window_take(PAGE_SIZE, size);
    spin_unlock(&space.lock);
    return address;
}

uint64_t kernel_space_translate(uint64_t address) {
    spin_lock(&space.lock);
    struct page_table_entry entry = page_walker_lookup(&host_format, space.root, address);
    spin_unlock(&space.lock);
    return entry.physical;
}
