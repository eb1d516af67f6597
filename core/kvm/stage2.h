// SPDX-License-Identifier: BSD-2-Clause
// A VM's second-stage page table: filled on first touch from the process's own mappings, emptied
// when those go.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "core/kvm/memslot.h"
#include "core/kvm/vm.h"

struct vcpu;

enum stage2_result { STAGE2_MAPPED, STAGE2_MMIO };

// The top table of gpa's address space.
static inline uint64_t stage2_root(const struct vm *vm, uint64_t gpa) {
    return vm->virt.stage2_root[gpa & MEMSLOT_SMM ? 1 : 0];
}

int stage2_init(struct vm *vm);
void stage2_destroy(struct vm *vm);
// Handles a violation at gpa (with the vCPU's space). STAGE2_MAPPED, STAGE2_MMIO (no slot, or a
// write to a read-only one), or -errno of the user mapping.
int stage2_fault(struct vcpu *vcpu, uint64_t gpa, bool write);
// Waits until no CPU can use rights that were taken away. No lock held.
void stage2_flush(struct vm *vm);
// Takes [gpa, gpa + size) out and waits until no CPU can use it. No lock held.
void stage2_zap(struct vm *vm, uint64_t gpa, uint64_t size);
