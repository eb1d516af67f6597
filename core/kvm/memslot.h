// SPDX-License-Identifier: BSD-2-Clause
// Memory slots: which user memory stands at which guest-physical address. A table is immutable;
// changing it publishes a new one.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct vcpu;
struct vm;

// The second address space (KVM_CAP_MULTI_ADDRESS_SPACE), that of vCPUs in system-management mode:
// its slots lie at guest-physical addresses with this bit, which is above all real ones.
#define MEMSLOT_SMM    (1ull << 52)
#define MEMSLOT_SPACES 2
// KVM_CAP_NR_MEMSLOTS, of each address space. A change copies the table, so it is kept smaller than
// Linux's 32764.
#define MEMSLOT_COUNT 1024

struct dirty_log;

struct memslot {
    uint64_t gpa, size, user_address; // bytes
    uint32_t id;                      // the address space in bits 31:16
    uint32_t flags;                   // KVM_MEM_*
    struct dirty_log *dirty;          // NULL: not logged
};

// The user address behind gpa, which lies in the slot.
static inline uint64_t memslot_user(const struct memslot *slot, uint64_t gpa) {
    return slot->user_address + (gpa - slot->gpa);
}

struct memslot_table {
    uint32_t count;
    struct memslot slots[]; // sorted by gpa, not overlapping
};

// Copies the slot that holds gpa; false: none.
bool memslot_find(struct vm *vm, uint64_t gpa, struct memslot *slot);
// The same by number; between vm_change_begin and vm_change_end it also stays.
bool memslot_by_id(struct vm *vm, uint32_t id, struct memslot *slot);
// The vCPU, or the kernel for it, has written [gpa, gpa + size): into the dirty logs. By the vCPU's
// thread or whoever holds it.
void memslot_mark_dirty(struct vcpu *vcpu, uint64_t gpa, uint64_t size);
// KVM_SET_USER_MEMORY_REGION. 0, -EINVAL, -EEXIST (overlap), -ENOMEM.
int memslot_set(struct vm *vm, const struct kvm_userspace_memory_region *region);
void memslot_destroy(struct vm *vm);
