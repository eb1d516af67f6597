// SPDX-License-Identifier: BSD-2-Clause
// Dirty rings (api.rst 8.29): each vCPU's list of the pages it wrote, shared with user space, which
// collects entries and gives them back.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct memory_object;
struct vcpu;
struct vm;

// KVM_CAP_DIRTY_LOG_RING: bytes of the largest.
#define DIRTY_RING_BYTES_MAX (1u << 20)

// KVM_ENABLE_CAP. 0, -EINVAL (no power of two, too small, twice, vCPUs exist) or -E2BIG.
int dirty_ring_enable(struct vm *vm, uint64_t bytes);
// The ring of a new vCPU, if the VM has rings. 0 or -ENOMEM.
int dirty_ring_create(struct vcpu *vcpu);
void dirty_ring_destroy(struct vcpu *vcpu);
// mmap of the vCPU at KVM_DIRTY_LOG_PAGE_OFFSET; offset in bytes from there. 0, -EINVAL, -ENOMEM.
int dirty_ring_map(struct vcpu *vcpu, uint64_t offset, uint64_t size, int prot, int flags,
                   struct memory_object **object);
// Appends a page of a slot. By the vCPU's thread or whoever holds it. Full but for what one exit
// can bring: the vCPU is asked to leave for user space (ATTENTION_DIRTY_RING).
void dirty_ring_push(struct vcpu *vcpu, uint32_t slot, uint64_t page);
bool dirty_ring_full(const struct vcpu *vcpu);
// KVM_RESET_DIRTY_RINGS: pages of collected entries are watched again. Their number or -EINVAL. No
// lock held.
int64_t dirty_ring_reset(struct vm *vm, uint64_t argument);
