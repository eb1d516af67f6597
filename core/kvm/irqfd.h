// SPDX-License-Identifier: BSD-2-Clause
// irqfds: an eventfd whose signal raises a GSI, without a thread in between.
#pragma once
#include <stdint.h>
#include <linux/kvm.h>

struct vm;

// KVM_IRQFD. 0, -EINVAL, -EBADF, -EBUSY (that eventfd is bound already), -ENOMEM.
int irqfd_change(struct vm *vm, const struct kvm_irqfd *request);
// Level GSIs (bit each) were EOIed: resample irqfds lower their line and tell user space. No lock
// held.
void irqfd_acknowledged(struct vm *vm, uint32_t gsis);
void irqfd_destroy_all(struct vm *vm);
