// SPDX-License-Identifier: BSD-2-Clause
// KVM_HAS_DEVICE_ATTR, KVM_GET_DEVICE_ATTR and KVM_SET_DEVICE_ATTR on /dev/kvm and on a vCPU.
#pragma once
#include <stdint.h>
#include <linux/kvm.h>

struct vcpu;

// The system's: KVM_X86_XCOMP_GUEST_SUPP. 0, -ENXIO (no such attribute), -EFAULT.
int64_t device_attribute_system(unsigned command, uint64_t argument);
// A vCPU's: KVM_VCPU_TSC_OFFSET. The same errors. The vCPU is held.
int device_attribute_vcpu(struct vcpu *vcpu, unsigned command,
                          const struct kvm_device_attr *attribute);
