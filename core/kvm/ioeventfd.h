// SPDX-License-Identifier: BSD-2-Clause
// ioeventfds: guest writes to a port or address that become an eventfd signal in the kernel.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct vm;

// KVM_IOEVENTFD. 0, -EINVAL, -EBADF, -EEXIST, -ENOENT, -ENOSPC, -ENOMEM.
int ioeventfd_change(struct vm *vm, const struct kvm_ioeventfd *request);
// A guest write of `size` bytes: true if an ioeventfd took it. Takes no lock.
bool ioeventfd_write(struct vm *vm, bool port, uint64_t address, unsigned size, const void *data);
void ioeventfd_destroy_all(struct vm *vm);
