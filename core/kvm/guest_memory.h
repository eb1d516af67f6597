// SPDX-License-Identifier: BSD-2-Clause
// Guest memory by guest-linear address: page walks over the VM's slots.
#pragma once
#include <stdint.h>
#include <linux/kvm.h>
#include "arch/x86/guest/guest_exception.h"
#include "arch/x86/guest/guest_walk.h"

struct vcpu;
extern const struct guest_walk_ops guest_memory_walk; // context: struct vm *

// Guest-physical address of linear for access (enum guest_access). 0, or -1 with the exception to
// raise.
int guest_memory_translate(struct vcpu *vcpu, uint64_t linear, unsigned access, uint64_t *gpa,
                           struct guest_exception *exception);
// Reads up to size bytes of code at linear; returns how many could be had (0: *exception says why).
unsigned guest_memory_fetch(struct vcpu *vcpu, uint64_t linear, uint8_t *bytes, unsigned size,
                            struct guest_exception *exception);
void guest_translate(struct vcpu *vcpu, struct kvm_translation *translation); // KVM_TRANSLATE
