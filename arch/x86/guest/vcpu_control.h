// SPDX-License-Identifier: BSD-2-Clause
// What control registers may hold, by the SDM's rules and the guest's CPUID, and what the guest's
// accesses to them do; shared by the back ends.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "arch/x86/guest/vcpu_exit.h"

// CR4 bits this vCPU may set: its CPUID's, or everything supported as long as it has no CPUID
// table.
uint64_t vcpu_cr4_allowed(const struct virt_vcpu *vcpu);
// KVM_SET_SREGS' checks of CR0, CR4, EFER and CS together.
bool vcpu_sregs_valid(const struct virt_vcpu *vcpu, const struct kvm_sregs *sregs);
// Loads the PDPTEs from guest memory if these registers mean PAE paging and the back end holds
// them. False: no memory there or reserved bits.
bool vcpu_load_pdptes(struct virt_vcpu *vcpu, uint64_t cr0, uint64_t cr4, uint64_t efer);
// Guest-physical address bits, 36 without a CPUID table (as KVM).
unsigned vcpu_physical_bits(const struct virt_vcpu *vcpu);

// MOV to CR0, CR4 or CR8; #GP(0) for what they must not hold (SDM vol. 2 MOV-CR).
enum exit_action vcpu_write_control(struct virt_vcpu *vcpu, struct virt_exit *exit, unsigned number,
                                    uint64_t value);
// LMSW: sets PE but cannot clear it (SDM vol. 2, APM vol. 3).
enum exit_action vcpu_load_status(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t source);
// CLTS.
enum exit_action vcpu_clear_task_switched(struct virt_vcpu *vcpu, struct virt_exit *exit);
