// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's guest memory: by guest-physical address, and by guest-linear address through page walks.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "arch/x86/guest/decoder.h"
#include "arch/x86/virt.h"

struct memslot;
struct vcpu;

// Guest-physical memory (of the second address space with MEMSLOT_SMM in gpa) through the current
// address space, which must be the VM's. Writes go into the dirty log. 0, or -EFAULT: no slot, a
// read-only one for a write, or a host fault.
int vcpu_read_guest(struct vcpu *vcpu, uint64_t gpa, void *to, uint64_t size);
int vcpu_write_guest(struct vcpu *vcpu, uint64_t gpa, const void *from, uint64_t size);
// Writes new_value atomically if the memory holds old_value. 0, or -EFAULT as above; the second one
// in a writable slot that the caller has looked up.
int vcpu_exchange_guest(struct vcpu *vcpu, uint64_t gpa, uint64_t old_value, uint64_t new_value,
                        uint32_t size, bool *exchanged);
int vcpu_exchange_slot(struct vcpu *vcpu, const struct memslot *slot, uint64_t gpa,
                       uint64_t old_value, uint64_t new_value, uint32_t size, bool *exchanged);

// Guest-physical address of linear in that state for access (enum guest_access). 0, or -1 with the
// exception to raise.
int guest_memory_translate(struct vcpu *vcpu, const struct virt_state *state, uint64_t linear,
                           unsigned access, uint64_t *gpa, struct guest_exception *exception);
// virt_vcpu.fetch: the bytes at RIP in that state, access as guest_walk's; returns how many could
// be had (0: *exception says why).
unsigned guest_memory_fetch(struct virt_vcpu *virt_vcpu, const struct virt_state *state,
                            unsigned access, uint8_t bytes[INSTRUCTION_MAX],
                            struct guest_exception *exception);
int guest_translate(struct vcpu *vcpu, struct kvm_translation *translation); // KVM_TRANSLATE
