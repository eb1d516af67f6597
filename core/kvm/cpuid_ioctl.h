// SPDX-License-Identifier: BSD-2-Clause
// CPUID ioctls: what can be offered, and a vCPU's own table.
#pragma once
#include <stdint.h>

struct vcpu;
int64_t cpuid_system_ioctl(unsigned command,
                           uint64_t argument); // KVM_GET_SUPPORTED_CPUID, KVM_GET_EMULATED_CPUID
int64_t cpuid_set(struct vcpu *vcpu, uint64_t argument); // KVM_SET_CPUID2
int64_t cpuid_get(struct vcpu *vcpu, uint64_t argument); // KVM_GET_CPUID2
