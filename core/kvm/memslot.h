// SPDX-License-Identifier: BSD-2-Clause
// Memory slots: which user memory stands at which guest-physical address. A table is immutable;
// changing it publishes a new one.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct vm;

// KVM_CAP_NR_MEMSLOTS. A change copies the table, so it is kept smaller than Linux's 32764.
#define MEMSLOT_COUNT 1024

struct dirty_log;

struct memslot {
    uint64_t gpa, size, user_address; // bytes
    uint32_t id, flags;               // KVM_MEM_*
    struct dirty_log *dirty;          // NULL: not logged
};

struct memslot_table {
    uint32_t count;
    struct memslot slots[]; // sorted by gpa, not overlapping
};

// Copies the slot that holds gpa; false: none.
bool memslot_find(struct vm *vm, uint64_t gpa, struct memslot *slot);
// The same by number; between vm_change_begin and vm_change_end it also stays.
bool memslot_by_id(struct vm *vm, uint32_t id, struct memslot *slot);
// The kernel has written [gpa, gpa + size) for the guest: into the dirty logs. Must not wait since
// it was entered.
void memslot_mark_dirty(struct vm *vm, uint64_t gpa, uint64_t size);
// KVM_SET_USER_MEMORY_REGION. 0, -EINVAL, -EEXIST (overlap), -ENOMEM.
int memslot_set(struct vm *vm, const struct kvm_userspace_memory_region *region);
void memslot_destroy(struct vm *vm);
