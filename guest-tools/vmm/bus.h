// SPDX-License-Identifier: BSD-2-Clause
// The two address spaces devices answer in: ports and memory-mapped registers.
#pragma once

#include <stddef.h>
#include <stdint.h>

// A device's answer to accesses in a range. offset counts from the range's start; length is the
// access's, 1 to 8 bytes, and never reaches over the range's end. Called on vCPU threads.
struct bus_device_ops {
    void (*read)(void *device, uint64_t offset, void *data, unsigned length);
    void (*write)(void *device, uint64_t offset, const void *data, unsigned length);
};

#define BUS_RANGES_MAX 32

struct bus_range {
    uint64_t start;
    uint64_t length;
    const struct bus_device_ops *ops;
    void *device;
};

// Filled before the vCPUs run and not changed after, so lookups take no lock.
struct bus {
    struct bus_range ranges[BUS_RANGES_MAX];
    size_t count;
};

// Adds a range; exits with a message where another begins at the same address. Of ranges that
// overlap (a PC's reset register at port 0xcf9 lies in PCI's 0xcf8) the first that holds the whole
// access answers.
void bus_attach(struct bus *bus, uint64_t start, uint64_t length, const struct bus_device_ops *ops,
                void *device);

// What nobody answers reads as all ones and swallows writes, as on a real bus.
void bus_read(const struct bus *bus, uint64_t address, void *data, unsigned length);
void bus_write(const struct bus *bus, uint64_t address, const void *data, unsigned length);
