// SPDX-License-Identifier: BSD-2-Clause
// Which MSRs a guest may touch (KVM_X86_SET_MSR_FILTER), and accesses that user space answers
// (KVM_CAP_X86_USER_SPACE_MSR).
#pragma once
#include <stdint.h>

struct vm;
struct vcpu;

// KVM_X86_SET_MSR_FILTER; argument: user address of struct kvm_msr_filter. 0 or -errno. No lock
// held.
int64_t msr_filter_set(struct vm *vm, uint64_t argument);
void msr_filter_destroy(struct vm *vm);
// The VM's filter has changed: the vCPU's thread, between two runs.
void msr_filter_update(struct vcpu *vcpu);
// KVM_CAP_X86_USER_SPACE_MSR. 0 or -EINVAL.
int msr_set_user_space(struct vm *vm, uint64_t reasons);

// VIRT_EXIT_MSR: #GP, or to user space. enum vcpu_next.
int msr_refused(struct vcpu *vcpu);
// User space has answered. enum vcpu_next.
int msr_complete(struct vcpu *vcpu);
