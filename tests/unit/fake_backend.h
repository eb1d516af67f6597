// SPDX-License-Identifier: BSD-2-Clause
// A back end without a processor: registers in an array, for tests of what the back ends share.
#pragma once
#include "arch/x86/virt.h"

struct fake_backend {
    uint64_t registers[BACKEND_COUNT];
    struct kvm_segment segments[8];
    uint64_t pdpte[4];
    unsigned shadow, resets, debug_changes;
    bool nmi_masked, tsc_scaling;
    uint64_t host_khz;
    struct virt_ops *ops;
};

extern struct fake_backend fake_backend;

// Zeroes it and makes it the back end in use.
void fake_backend_reset(void);
