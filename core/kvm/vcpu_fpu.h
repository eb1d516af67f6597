// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's x87, SSE and extended state in the layouts of the KVM API. The vCPU is held and not
// running, but for the last two.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>

struct vcpu;
int vcpu_get_fpu(struct vcpu *vcpu, struct kvm_fpu *fpu);
int vcpu_set_fpu(struct vcpu *vcpu, const struct kvm_fpu *fpu);
int vcpu_get_xsave(struct vcpu *vcpu, struct kvm_xsave *xsave);
// 0, or -EINVAL: a component the host has not, compacted format, reserved bits.
int vcpu_set_xsave(struct vcpu *vcpu, const struct kvm_xsave *xsave);
// Vector register `which` in the saved area: XMM, and for 32 bytes its upper half from the AVX
// component.
void vcpu_read_vector(struct vcpu *vcpu, unsigned which, void *data, uint32_t size);
void vcpu_write_vector(struct vcpu *vcpu, unsigned which, const void *data, uint32_t size,
                       bool clear_upper);
