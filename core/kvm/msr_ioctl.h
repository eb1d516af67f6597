// SPDX-License-Identifier: BSD-2-Clause
// MSR ioctls, and the hooks of a vCPU's MSR table that need the VM (clock, TSC, CPUID).
#pragma once
#include <stdint.h>
#include "arch/x86/guest/msr.h"

struct vcpu;
int64_t msr_system_ioctl(unsigned command, uint64_t argument); // index lists, feature MSRs
// KVM_GET_MSRS / KVM_SET_MSRS: the number done, or -errno.
int64_t msr_get_all(struct vcpu *vcpu, uint64_t argument);
int64_t msr_set_all(struct vcpu *vcpu, uint64_t argument);
// What every vCPU's MSR table is given; whole after msr_init.
extern struct guest_msr_backend msr_backend;
void msr_init(void);
