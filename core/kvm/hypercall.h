// SPDX-License-Identifier: BSD-2-Clause
// KVM's hypercalls (Documentation/virt/kvm/x86/hypercalls.rst).
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct vcpu;

// VMCALL or VMMCALL was executed and skipped: enum vcpu_next.
int hypercall(struct vcpu *vcpu);
// User space has finished one (KVM_EXIT_HYPERCALL).
int hypercall_complete(struct vcpu *vcpu);
// An undefined instruction: if it is the other vendor's hypercall, it becomes this one's to run
// again (KVM_X86_QUIRK_FIX_HYPERCALL_INSN), or the page fault of that write is raised. False: it is
// not.
bool hypercall_fix(struct vcpu *vcpu, const uint8_t *bytes, unsigned count);
