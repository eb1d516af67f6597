// SPDX-License-Identifier: BSD-2-Clause
// What control registers may hold, by the SDM's rules and the guest's CPUID; shared by the back
// ends.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct virt_vcpu;

// CR4 bits this vCPU may set: its CPUID's, or everything supported as long as it has no CPUID
// table.
uint64_t vcpu_cr4_allowed(const struct virt_vcpu *vcpu);
// KVM_SET_SREGS' checks of CR0, CR4, EFER and CS together.
bool vcpu_sregs_valid(const struct virt_vcpu *vcpu, const struct kvm_sregs *sregs);
// MOV to CR0 from old to value: false means #GP(0) (SDM vol. 2 MOV-CR, vol. 3 4.1.2). code_long:
// CS.L.
bool vcpu_cr0_move_valid(uint64_t old, uint64_t value, uint64_t cr4, uint64_t efer, bool code_long);
// MOV to CR4, apart from reserved bits.
bool vcpu_cr4_move_valid(uint64_t old, uint64_t value, uint64_t cr3, uint64_t efer);
// Reserved bits of a present PAE PDPTE (SDM vol. 3 table 4-8).
bool vcpu_pdpte_valid(const struct virt_vcpu *vcpu, uint64_t pdpte);
// Guest-physical address bits, 36 without a CPUID table (as KVM).
unsigned vcpu_physical_bits(const struct virt_vcpu *vcpu);
