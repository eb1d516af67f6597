// SPDX-License-Identifier: BSD-2-Clause
// Finds the device that answers an access.
#include "bus.h"

#include <string.h>

#include "error.h"

void bus_attach(struct bus *bus, uint64_t start, uint64_t length, const struct bus_device_ops *ops,
                void *device) {
    for (size_t i = 0; i < bus->count; i++) {
        if (start == bus->ranges[i].start) {
            fatal("two devices at %#llx", (unsigned long long)start);
        }
    }
    if (bus->count == BUS_RANGES_MAX) {
        fatal("more than %d device ranges", BUS_RANGES_MAX);
    }
    bus->ranges[bus->count++] =
        (struct bus_range){.start = start, .length = length, .ops = ops, .device = device};
}

static const struct bus_range *find_range(const struct bus *bus, uint64_t address,
                                          unsigned length) {
    for (size_t i = 0; i < bus->count; i++) {
        const struct bus_range *range = &bus->ranges[i];
        uint64_t offset = address - range->start;
        if (offset < range->length && length <= range->length - offset) {
            return range;
        }
    }
    return NULL;
}

void bus_read(const struct bus *bus, uint64_t address, void *data, unsigned length) {
    const struct bus_range *range = find_range(bus, address, length);

    if (range) {
        range->ops->read(range->device, address - range->start, data, length);
    } else {
        memset(data, 0xff, length);
    }
}

void bus_write(const struct bus *bus, uint64_t address, const void *data, unsigned length) {
    const struct bus_range *range = find_range(bus, address, length);

    if (range) {
        range->ops->write(range->device, address - range->start, data, length);
    }
}
