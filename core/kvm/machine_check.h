// SPDX-License-Identifier: BSD-2-Clause
// Machine checks that user space injects.
#pragma once
#include <stdint.h>
#include <linux/kvm.h>

struct vcpu;

// KVM_X86_GET_MCE_CAP_SUPPORTED: the bits of MCG_CAP that KVM_X86_SETUP_MCE takes, without the
// bank count.
uint64_t machine_check_capabilities(void);
// KVM_X86_SETUP_MCE. 0 or -EINVAL. The vCPU is held.
int machine_check_setup(struct vcpu *vcpu, uint64_t capabilities);
// KVM_X86_SET_MCE. 0 or -EINVAL. The vCPU is held.
int machine_check_inject(struct vcpu *vcpu, const struct kvm_x86_mce *event);
