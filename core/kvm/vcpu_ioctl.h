// SPDX-License-Identifier: BSD-2-Clause
// The vCPU ioctls of the KVM API, KVM_RUN apart. The caller holds the vCPU.
#pragma once
#include <stdint.h>
#include <linux/kvm.h>

struct vcpu;
int64_t vcpu_ioctl(struct vcpu *vcpu, unsigned command, uint64_t argument);

// The pieces KVM_CAP_SYNC_REGS needs too. 0 or -EINVAL.
int vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs);
int vcpu_get_sregs(struct vcpu *vcpu, struct kvm_sregs *sregs);
int vcpu_set_sregs(struct vcpu *vcpu, const struct kvm_sregs *sregs);
int vcpu_get_events(struct vcpu *vcpu, struct kvm_vcpu_events *events);
int vcpu_set_events(struct vcpu *vcpu, const struct kvm_vcpu_events *events);
