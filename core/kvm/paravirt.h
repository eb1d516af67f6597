// SPDX-License-Identifier: BSD-2-Clause
// What a guest that knows of KVM shares with it (Documentation/virt/kvm/x86/msr.rst): stolen time,
// EOIs without an exit; and vCPUs that wait for a CPU inside KVM_RUN.
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct vcpu;
struct lapic;

// INIT: the guest starts anew and shares nothing.
void paravirt_reset(struct vcpu *vcpu);
// MSR_KVM_STEAL_TIME was written.
void paravirt_steal_enabled(struct vcpu *vcpu);
// The guest's page gets the time its vCPU waited for a CPU, if it has one. The vCPU's thread.
void paravirt_steal_update(struct vcpu *vcpu);
// The vCPU's thread may lose its CPU: the page says so until the next update, before it runs again.
void paravirt_preempted(struct vcpu *vcpu);

// MSR_KVM_PV_EOI_EN was written.
void paravirt_eoi_enabled(struct vcpu *vcpu, uint64_t value);
// ATTENTION_PV_EOI: brings the guest's word in. The vCPU's thread.
void paravirt_eoi_reach(struct vcpu *vcpu);
// lapic_ops.pv_eoi.
int paravirt_eoi(struct lapic *lapic, bool set);

// schedule() from inside KVM_RUN: another vCPU of the VM may choose this one meanwhile.
void vcpu_give_way(struct vcpu *vcpu);
// Makes `target` the next to run here if it waits for a CPU there (NULL: the vCPU of the VM that
// has waited longest); the caller, another vCPU's thread, then gives way.
bool vcpu_yield_to(struct vcpu *vcpu, struct vcpu *target);
