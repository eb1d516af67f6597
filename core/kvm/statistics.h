// SPDX-License-Identifier: BSD-2-Clause
// KVM_GET_STATS_FD: a VM's or vCPU's counters as a file (api.rst 4.133).
#pragma once
#include <stdint.h>

struct vm;
struct vcpu;

// A new fd or -errno.
int64_t statistics_vm_fd(struct vm *vm, uint64_t argument);
int64_t statistics_vcpu_fd(struct vcpu *vcpu, uint64_t argument);
