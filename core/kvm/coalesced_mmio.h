// SPDX-License-Identifier: BSD-2-Clause
// Coalesced MMIO and port writes: collected in a ring that user space empties at its next exit
// (api.rst 4.116).
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct vm;

#define COALESCED_MMIO_PAGE 2 // of a vCPU's mapping; the ring is the VM's

// The ring's page. 0 or -ENOMEM.
int coalesced_init(struct vm *vm);
void coalesced_destroy(struct vm *vm);
// KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO. 0, -EINVAL, -ENOSPC, -ENOMEM. No lock
// held.
int coalesced_register(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone);
int coalesced_unregister(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone);
// A guest's write of size <= 8 bytes. False: not in a zone, or the ring is full.
bool coalesced_write(struct vm *vm, bool port, uint64_t address, unsigned size, const void *data);
