// SPDX-License-Identifier: BSD-2-Clause
// The state after power-on and INIT (SDM vol. 3 table 10-1), and where struct kvm_sregs has each
// segment; shared by the back ends.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct virt_vcpu;

// Segments by the numbers of virt_ops.get_segment.
enum { VCPU_SEGMENT_TR = 6, VCPU_SEGMENT_LDTR = 7, VCPU_SEGMENTS = 8 };
struct kvm_segment *vcpu_sregs_segment(struct kvm_sregs *sregs, unsigned segment_register);

#define PAT_RESET 0x0007040600070406ull

// Resets what struct virt_vcpu itself holds (RSP and RIP excepted) and tells the rest: segments,
// tables, control registers for the back end to load. cr0: what it was, since INIT keeps the cache
// bits.
void vcpu_reset_registers(struct virt_vcpu *vcpu, bool init, uint64_t cr0, struct kvm_sregs *sregs);
#define VCPU_RESET_RIP 0xfff0ull
