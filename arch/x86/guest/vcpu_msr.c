// SPDX-License-Identifier: BSD-2-Clause
// The hooks guest_msr needs of a vCPU: values the back end holds, and reading the guest's TSC.
#include "arch/x86/guest/msr.h"
#include "arch/x86/virt.h"
#include "core/list.h"

static struct virt_vcpu *vcpu_of_msrs(struct guest_msrs *msrs) {
    return container_of(msrs, struct virt_vcpu, msrs);
}

static uint64_t get(struct guest_msrs *msrs, enum backend_msr which) {
    return virt->get_msr(vcpu_of_msrs(msrs), which);
}

static int set(struct guest_msrs *msrs, enum backend_msr which, uint64_t value) {
    return virt->set_msr(vcpu_of_msrs(msrs), which, value);
}

static uint64_t get_tsc(struct guest_msrs *msrs) {
    return virt_guest_tsc(vcpu_of_msrs(msrs));
}

static void cpuid_inputs_changed(struct guest_msrs *msrs) {
    virt_cpuid_update(vcpu_of_msrs(msrs));
}

static uint64_t host_msr(struct guest_msrs *msrs, uint32_t index) {
    (void)msrs;
    return virt->host_msr(index);
}

static int command(struct guest_msrs *msrs, uint32_t index, uint64_t value) {
    return virt->msr_command(vcpu_of_msrs(msrs), index, value);
}

void virt_msr_backend(struct guest_msr_backend *backend) {
    backend->get = get;
    backend->set = set;
    backend->get_tsc = get_tsc;
    backend->command = command;
    backend->cpuid_inputs_changed = cpuid_inputs_changed;
    backend->host_msr = host_msr;
}
