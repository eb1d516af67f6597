// SPDX-License-Identifier: BSD-2-Clause
// Virtual-processor identifiers 1..65535: one a vCPU, so that guests' TLB entries live side by
// side. A VPID's first entry flushes what its last owner left.
#include "arch/x86/vmx/vcpu.h"

#define VPID_COUNT 65536u

static uint64_t used[VPID_COUNT / 64] = {1}; // 0 is the host's
static unsigned next_word;
static struct spinlock lock;

uint16_t vpid_alloc(void) {
    uint16_t vpid = 0;
    spin_lock(&lock);
    for (unsigned i = 0; i < VPID_COUNT / 64 && !vpid; i++) {
        unsigned word = (next_word + i) % (VPID_COUNT / 64);
        if (used[word] == UINT64_MAX)
            continue;
        unsigned bit = (unsigned)__builtin_ctzll(~used[word]);
        used[word] |= 1ull << bit;
        next_word = word;
        vpid = (uint16_t)(word * 64 + bit);
    }
    spin_unlock(&lock);
    return vpid;
}

void vpid_free(uint16_t vpid) {
    if (!vpid)
        return;
    spin_lock(&lock);
    used[vpid / 64] &= ~(1ull << vpid % 64);
    spin_unlock(&lock);
}
