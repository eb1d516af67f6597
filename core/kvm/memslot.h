// SPDX-License-Identifier: BSD-2-Clause
// Memory slots: which user memory stands at which guest-physical address. A table is immutable;
// changing it publishes a new one.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct vm;

#define MEMSLOT_COUNT 32764 // KVM_CAP_NR_MEMSLOTS, as Linux's

struct memslot {
    uint64_t gpa, size, user_address; // bytes
    uint32_t id, flags;               // KVM_MEM_*
};

struct memslot_table {
    uint32_t count;
    struct memslot slots[]; // sorted by gpa, not overlapping
};

// Copies the slot that holds gpa; false: none.
bool memslot_find(struct vm *vm, uint64_t gpa, struct memslot *slot);
// KVM_SET_USER_MEMORY_REGION. 0, -EINVAL, -EEXIST (overlap), -ENOMEM.
int memslot_set(struct vm *vm, const struct kvm_userspace_memory_region *region);
void memslot_destroy(struct vm *vm);
