// SPDX-License-Identifier: BSD-2-Clause
// System-management mode: entered by an SMI, left by RSM.
#pragma once
#include <stdbool.h>

struct vcpu;

// All below by the vCPU's thread or whoever holds it. An SMI is pending: enters SMM, or lets it
// wait for its end, for the guest to run at all, or for what is being injected.
void smm_interrupt(struct vcpu *vcpu);
// RSM, in SMM.
void smm_resume(struct vcpu *vcpu);
// Moves the vCPU into the address space of SMM or out of it; what waited for the end of SMM is due.
void smm_set(struct vcpu *vcpu, bool in_smm);
