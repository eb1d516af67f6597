// SPDX-License-Identifier: BSD-2-Clause
// Reservation of guest RAM and the translation of guest-physical to host addresses.
#define _GNU_SOURCE // memfd_create
#include "memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "error.h"
#include "guest_layout.h"

#define LARGE_PAGE_SIZE (2ull << 20)

// Puts the memory file over the aligned part of the reservation.
static int share(void *start, uint64_t size) {
    int fd = memfd_create("guest-memory", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 ||
        mmap(start, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, 0) ==
            MAP_FAILED) {
        fatal_errno("cannot share %llu MiB of guest memory", (unsigned long long)(size >> 20));
    }
    return fd;
}

void memory_create(struct guest_memory *memory, uint64_t size, bool shared) {
    size_t mapping_size = size + LARGE_PAGE_SIZE;
    void *mapping = mmap(NULL, mapping_size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mapping == MAP_FAILED) {
        fatal_errno("cannot reserve %llu MiB of guest memory", (unsigned long long)(size >> 20));
    }
    uintptr_t start = ((uintptr_t)mapping + LARGE_PAGE_SIZE - 1) & ~(LARGE_PAGE_SIZE - 1);
    int fd = shared ? share((void *)start, size) : -1;
    madvise((void *)start, size, MADV_HUGEPAGE); // A hint; small pages work as well.

    uint64_t low_size = size < HOLE_START ? size : HOLE_START;
    *memory = (struct guest_memory){
        .host = (uint8_t *)start,
        .size = size,
        .low_size = low_size,
        .high_size = size - low_size,
        .fd = fd,
        .mapping = mapping,
        .mapping_size = mapping_size,
    };
}

void memory_destroy(struct guest_memory *memory) {
    munmap(memory->mapping, memory->mapping_size);
    memory->host = NULL;
    if (memory->fd >= 0) {
        close(memory->fd);
    }
}

void memory_release(const struct guest_memory *memory, void *host, uint64_t length) {
    uintptr_t first = ((uintptr_t)host + GUEST_PAGE_SIZE - 1) & ~(GUEST_PAGE_SIZE - 1);
    uintptr_t end = ((uintptr_t)host + length) & ~(GUEST_PAGE_SIZE - 1);

    // Shared pages are the file's: leaving the mapping alone frees nothing.
    if (first < end &&
        madvise((void *)first, end - first, memory->fd >= 0 ? MADV_REMOVE : MADV_DONTNEED) < 0) {
        warning("a page of the balloon stays: %s", strerror(errno));
    }
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
