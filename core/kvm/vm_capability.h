// SPDX-License-Identifier: BSD-2-Clause
// KVM_ENABLE_CAP on a VM.
#pragma once
#include <linux/kvm.h>
#include <linux/kvm_para.h>

struct vm;

// Quirks that KVM_CAP_DISABLE_QUIRKS2 can turn off here.
#define VM_QUIRKS                                                                                  \
    (KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT | KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS |                    \
     KVM_X86_QUIRK_FIX_HYPERCALL_INSN)
// Instructions that KVM_CAP_X86_DISABLE_EXITS can leave to the guest.
#define VM_DISABLED_EXITS (KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE)
// Hypercalls that KVM_CAP_EXIT_HYPERCALL can hand to user space.
#define VM_HYPERCALL_EXITS (1 << KVM_HC_MAP_GPA_RANGE)

// 0, or -EINVAL (unknown capability, bad argument), -EEXIST, -ENOMEM.
int vm_enable_capability(struct vm *vm, const struct kvm_enable_cap *cap);
