// SPDX-License-Identifier: BSD-2-Clause
// The ioctls that fuzz_kvm tries, by the kind of file they are for.
#pragma once

enum kind { ANY, SYSTEM, VM, VCPU, EVENT, KINDS };

struct requests {
    const unsigned long *requests;
    unsigned count;
};
extern const struct requests requests_of[KINDS];
