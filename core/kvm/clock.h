// SPDX-License-Identifier: BSD-2-Clause
// kvmclock: a VM's clock, the page each vCPU shares with its guest, and guest TSCs.
#pragma once
#include <stdint.h>
#include <linux/kvm.h>

struct vm;
struct vcpu;

int clock_get(struct vm *vm, struct kvm_clock_data *data);
// 0, or -EINVAL (flags).
int clock_set(struct vm *vm, const struct kvm_clock_data *data);
// MSR_KVM_SYSTEM_TIME was written.
void clock_system_time(struct vcpu *vcpu, uint64_t value);
// MSR_KVM_WALL_CLOCK was written.
void clock_wall_time(struct vcpu *vcpu);
// Writes the vCPU's pages if it has any that are due. The vCPU's thread, before an entry.
void clock_update(struct vcpu *vcpu);
void clock_set_guest_tsc(struct vcpu *vcpu, uint64_t value);
// The same from user space, which means to keep the vCPUs' TSCs alike.
void clock_restore_guest_tsc(struct vcpu *vcpu, uint64_t value);
// Sets what is added to the (scaled) host TSC.
void clock_set_tsc_offset(struct vcpu *vcpu, uint64_t offset);
// KVM_SET_TSC_KHZ on a VM, for its later vCPUs, and on a vCPU; khz 0: the default. 0 or -EINVAL
// (the machine cannot).
int64_t clock_set_default_tsc_khz(struct vm *vm, uint64_t khz);
int64_t clock_set_tsc_khz(struct vcpu *vcpu, uint64_t khz);
