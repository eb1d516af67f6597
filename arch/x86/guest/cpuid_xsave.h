// SPDX-License-Identifier: BSD-2-Clause
// Sizes of the XSAVE area (SDM vol. 1 13.4).
#pragma once
#include <stdint.h>

#define XSAVE_COMPONENTS 32
#define XSAVE_LEGACY     576u // x87/SSE region and header
#define XSAVE_ALIGNED    2u   // component flag: 64-byte aligned in the compacted format

struct xsave_component {
    uint32_t size, offset, flags;
};

static inline uint32_t xsave_standard_size(const struct xsave_component *components,
                                           uint64_t mask) {
    uint32_t size = XSAVE_LEGACY;

    for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
        uint32_t end = components[i].offset + components[i].size;
        if ((mask >> i & 1) && end > size)
            size = end;
    }
    return size;
}

static inline uint32_t xsave_compacted_size(const struct xsave_component *components,
                                            uint64_t mask) {
    uint32_t size = XSAVE_LEGACY;

    for (unsigned i = 2; i < XSAVE_COMPONENTS; i++) {
        if (!(mask >> i & 1))
            continue;
        if (components[i].flags & XSAVE_ALIGNED)
            size = (size + 63) & ~63u;
        size += components[i].size;
    }
    return size;
}
