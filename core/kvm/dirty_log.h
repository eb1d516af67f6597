// SPDX-License-Identifier: BSD-2-Clause
// Which pages of a memory slot were written: one bit a page, set by write faults on write-protected
// pages and by what the kernel writes itself.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct vm;
struct vcpu;
struct memslot;
struct dirty_log;

// NULL: no memory (a log covers at most 64 GiB). All dirty at first where user space asked for it.
struct dirty_log *dirty_log_create(struct vm *vm, uint64_t pages);
void dirty_log_destroy(struct dirty_log *log);
// A page of a logged slot was written; also into the vCPU's dirty ring if there is one. By the
// vCPU's thread or whoever holds it.
void dirty_log_mark(struct vcpu *vcpu, const struct memslot *slot, uint64_t page);
// With vm->mmu_lock held.
bool dirty_log_test(const struct dirty_log *log, uint64_t page);
// KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG. 0, -EINVAL, -ENOENT (slot not logged), -ENXIO (the VM has
// dirty rings), -EFAULT. No lock held.
int dirty_log_get(struct vm *vm, const struct kvm_dirty_log *request);
int dirty_log_clear(struct vm *vm, const struct kvm_clear_dirty_log *request);
// Page of slot `id` is clean from the caller's stage2_flush on; neither needs to exist. Between
// vm_change_begin and vm_change_end.
void dirty_log_reset(struct vm *vm, uint32_t id, uint64_t page);
// KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. 0 or -EINVAL.
int dirty_log_set_manual(struct vm *vm, uint64_t flags);
