// SPDX-License-Identifier: BSD-2-Clause
// Virtual CPUs: creation, first state, the thread that runs one, and its exits.
#pragma once

#include "vm.h"

// All of these exit with a message where the KVM API refuses.

void vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned index);

// Gives the first CPU the registers its kernel's boot protocol asks for. The others wait for INIT
// and SIPI, as in-kernel local APICs make them.
void vcpu_set_entry(struct vcpu *vcpu, const struct kernel_entry *entry);

// Starts the thread that runs the CPU until the machine's outcome is known.
void vcpu_start(struct vcpu *vcpu);

// Gets the thread out of KVM_RUN, to look at the machine's gate and outcome.
void vcpu_kick(struct vcpu *vcpu);

// Whether the CPU is not plugged; and plugs it, or keeps it from running. Any thread.
bool vcpu_is_parked(const struct vcpu *vcpu);
void vcpu_park(struct vcpu *vcpu, bool parked);

// Gets the thread out of KVM_RUN and waits for it; the outcome must be known.
void vcpu_stop(struct vcpu *vcpu);

void vcpu_destroy(struct vcpu *vcpu);
