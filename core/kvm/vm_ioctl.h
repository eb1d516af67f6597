// SPDX-License-Identifier: BSD-2-Clause
// The VM ioctls of the KVM API.
#pragma once
#include <stdint.h>

struct vm;
int64_t vm_ioctl(struct vm *vm, unsigned command, uint64_t argument);
