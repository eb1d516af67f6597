// SPDX-License-Identifier: BSD-2-Clause
// Registers of a vCPU through its back end (virt_ops.get and set); see virt.h for the sets of them.
#pragma once
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/guest/decoder.h"
#include "arch/x86/virt.h"

// In struct virt_vcpu.gpr's order, the hardware's.
enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX, GPR_RSP };

// Segments by the numbers of virt_ops.get_segment.
enum { VCPU_SEGMENT_TR = 6, VCPU_SEGMENT_LDTR = 7, VCPU_SEGMENTS = 8 };
struct kvm_segment *vcpu_sregs_segment(struct kvm_sregs *sregs, unsigned segment_register);
// Bits 40-47 and 52-55 of a descriptor where it has them (SDM vol. 3 table 25-2).
enum { ATTRIBUTE_P = 1 << 7, ATTRIBUTE_L = 1 << 13 };
uint16_t vcpu_segment_attributes(const struct kvm_segment *segment);
struct kvm_segment vcpu_segment(uint16_t selector, uint64_t base, uint32_t limit,
                                uint16_t attributes);

uint64_t vcpu_gpr(struct virt_vcpu *vcpu, unsigned index);
void vcpu_set_gpr(struct virt_vcpu *vcpu, unsigned index, uint64_t value);
// RIP as a linear address.
uint64_t vcpu_linear_rip(struct virt_vcpu *vcpu);
// KVM_SET_SREGS without checks, CR8 and APIC base.
void vcpu_load_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs);
