// SPDX-License-Identifier: BSD-2-Clause
// Reservation of guest RAM and the translation of guest-physical to host addresses.
#include "memory.h"

#include <string.h>
#include <sys/mman.h>

#include "error.h"
#include "guest_layout.h"

#define LARGE_PAGE_SIZE (2ull << 20)

void memory_create(struct guest_memory *memory, uint64_t size) {
    size_t mapping_size = size + LARGE_PAGE_SIZE;
    void *mapping = mmap(NULL, mapping_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mapping == MAP_FAILED) {
        fatal_errno("cannot reserve %llu MiB of guest memory", (unsigned long long)(size >> 20));
    }
    uintptr_t start = ((uintptr_t)mapping + LARGE_PAGE_SIZE - 1) & ~(LARGE_PAGE_SIZE - 1);
    madvise((void *)start, size, MADV_HUGEPAGE); // A hint; small pages work as well.

    uint64_t low_size = size < HOLE_START ? size : HOLE_START;
    *memory = (struct guest_memory){
        .host = (uint8_t *)start,
        .size = size,
        .low_size = low_size,
        .high_size = size - low_size,
        .mapping = mapping,
        .mapping_size = mapping_size,
    };
}

void memory_destroy(struct guest_memory *memory) {
    munmap(memory->mapping, memory->mapping_size);
    memory->host = NULL;
}

void *memory_pointer(const struct guest_memory *memory, uint64_t address, uint64_t length) {
    if (address < memory->low_size && length <= memory->low_size - address) {
        return memory->host + address;
    }
    if (address >= HOLE_END && address - HOLE_END < memory->high_size &&
        length <= memory->high_size - (address - HOLE_END)) {
        return memory->host + memory->low_size + (address - HOLE_END);
    }
    return NULL;
}

void memory_write(const struct guest_memory *memory, uint64_t address, const void *data,
                  uint64_t length, const char *what) {
    void *target = memory_pointer(memory, address, length);

    if (!target) {
        fatal("%s (%llu bytes at %#llx) does not fit into the guest's memory", what,
              (unsigned long long)length, (unsigned long long)address);
    }
    memcpy(target, data, length);
}
