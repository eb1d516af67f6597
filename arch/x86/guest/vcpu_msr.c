// SPDX-License-Identifier: BSD-2-Clause
// The hooks guest_msr needs of a vCPU: values the back end holds, and the guest's TSC.
#include "arch/x86/guest/msr.h"
#include "arch/x86/virt.h"
#include "core/list.h"

static struct virt_vcpu *vcpu_of_msrs(struct guest_msrs *msrs) {
    return container_of(msrs, struct virt_vcpu, msrs);
}

static uint64_t get(struct guest_msrs *msrs, enum backend_msr which) {
    return virt->msr_get(vcpu_of_msrs(msrs), which);
}

static int set(struct guest_msrs *msrs, enum backend_msr which, uint64_t value) {
    return virt->msr_set(vcpu_of_msrs(msrs), which, value);
}

static uint64_t get_tsc(struct guest_msrs *msrs) {
    return virt_guest_tsc(vcpu_of_msrs(msrs));
}

static void set_offset(struct virt_vcpu *vcpu, uint64_t offset) {
    vcpu->tsc_offset = offset;
    virt->tsc_changed(vcpu);
    if (vcpu->irqchip)
        lapic_tsc_changed(&vcpu->lapic);
}

// User space that writes nearly the same value to one vCPU after another means one synchronized TSC (as KVM: within a
// second of where the VM's TSC stands; zero is how VMMs say "start").
static void set_tsc(struct guest_msrs *msrs, uint64_t value, bool host_initiated) {
    struct virt_vcpu *vcpu = vcpu_of_msrs(msrs);
    uint64_t offset = vcpu->tsc_offset + (value - virt_guest_tsc(vcpu));
    if (host_initiated) {
        int64_t distance = (int64_t)(offset - vcpu->vm->tsc_offset_base);
        uint64_t second = (vcpu->tsc_khz ? vcpu->tsc_khz : time_tsc_khz()) * 1000ull;
        if (value == 0 || (uint64_t)(distance < 0 ? -distance : distance) < second)
            offset = vcpu->vm->tsc_offset_base;
        else
            vcpu->vm->tsc_offset_base = offset;
    }
    set_offset(vcpu, offset);
}

static void adjust_tsc(struct guest_msrs *msrs, int64_t delta) {
    struct virt_vcpu *vcpu = vcpu_of_msrs(msrs);
    set_offset(vcpu, vcpu->tsc_offset + (uint64_t)delta);
}

static void cpuid_inputs_changed(struct guest_msrs *msrs) {
    virt_cpuid_update(vcpu_of_msrs(msrs));
}

static uint64_t host_msr(struct guest_msrs *msrs, uint32_t index) {
    (void)msrs;
    return virt_host_msr(index);
}

static int command(struct guest_msrs *msrs, uint32_t index, uint64_t value) {
    (void)msrs;
    return virt->msr_command ? virt->msr_command(index, value) : -1;
}

void virt_msr_backend(struct guest_msr_backend *backend) {
    backend->get = get;
    backend->set = set;
    backend->get_tsc = get_tsc;
    backend->set_tsc = set_tsc;
    backend->adjust_tsc = adjust_tsc;
    backend->command = command;
    backend->cpuid_inputs_changed = cpuid_inputs_changed;
    backend->host_msr = host_msr;
}
