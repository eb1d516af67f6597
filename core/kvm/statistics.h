// SPDX-License-Identifier: BSD-2-Clause
// KVM_GET_STATS_FD: a VM's or vCPU's counters as a file (api.rst 4.133).
#pragma once

struct vm;
struct vcpu;

// A new fd or -errno.
int statistics_vm_fd(struct vm *vm);
int statistics_vcpu_fd(struct vcpu *vcpu);
