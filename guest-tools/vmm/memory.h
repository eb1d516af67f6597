// SPDX-License-Identifier: BSD-2-Clause
// The guest's RAM: one host mapping, seen by the guest below the hole and above 4 GiB.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_memory {
    uint8_t *host;      // RAM's first byte; 2 MiB aligned so that large pages fit
    uint64_t size;      // bytes
    uint64_t low_size;  // bytes from guest address 0
    uint64_t high_size; // bytes from HOLE_END; 0 where all fits below the hole
    int fd;             // memory file that back ends can map too, -1: nobody shares it
    void *mapping;      // what to unmap
    size_t mapping_size;
};

// Reserves size bytes of zeroed RAM, in a memory file where it is to be shared; exits with a
// message where that fails.
void memory_create(struct guest_memory *memory, uint64_t size, bool shared);

void memory_destroy(struct guest_memory *memory);

// Host address of [address, address + length) of guest memory, NULL unless all of it is RAM in one
// piece.
void *memory_pointer(const struct guest_memory *memory, uint64_t address, uint64_t length);

// Gives the host back what stands in RAM at host, which reads as zeros from then on. Of a piece
// that is not whole pages only the whole ones go.
void memory_release(const struct guest_memory *memory, void *host, uint64_t length);

// Copies into RAM at a guest address; a range that is not RAM is a fatal error naming what.
void memory_write(const struct guest_memory *memory, uint64_t address, const void *data,
                  uint64_t length, const char *what);
