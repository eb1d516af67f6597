// SPDX-License-Identifier: BSD-2-Clause
// The hooks guest_msr needs of a vCPU: values the back end or struct virt_vcpu holds, and reading
// the guest's TSC.
#include "arch/x86/guest/vcpu_exit.h"
#include "core/sched/thread.h"

static struct virt_vcpu *vcpu_of_msrs(struct guest_msrs *msrs) {
    return container_of(msrs, struct virt_vcpu, msrs);
}

static uint64_t get(struct guest_msrs *msrs, enum backend_register which) {
    struct virt_vcpu *vcpu = vcpu_of_msrs(msrs);
    switch (which) {
    case BACKEND_SPEC_CTRL:
        return vcpu->spec_ctrl;
    case BACKEND_XSS:
        return vcpu->guest_fpu.xss;
    case BACKEND_DEBUGCTL:
        return 0;
    default:
        return virt->get(vcpu, which);
    }
}

static void set_xss(struct virt_vcpu *vcpu, uint64_t value) {
    vcpu->guest_fpu.xss = value;
    if (virt_host.xsaves && thread_current()->fpu == &vcpu->guest_fpu)
        write_msr(MSR_XSS, value);
    virt_cpuid_update(vcpu);
}

static bool changes_lme(struct virt_vcpu *vcpu, uint64_t value) {
    return (value ^ virt->get(vcpu, BACKEND_EFER)) & EFER_LME;
}

static int set(struct guest_msrs *msrs, enum backend_register which, uint64_t value) {
    struct virt_vcpu *vcpu = vcpu_of_msrs(msrs);
    switch (which) {
    case BACKEND_DEBUGCTL:
        return 0;
    case BACKEND_XSS:
        set_xss(vcpu, value);
        return 0;
    case BACKEND_SPEC_CTRL:
        if (value & ~virt_host.spec_ctrl_bits) // the world switch would fault
            return -1;
        vcpu->spec_ctrl = value;
        vcpu->load_spec_ctrl = value != 0;
        return 0;
    case BACKEND_EFER: // SDM vol. 3 4.1.1: LME cannot change while paging is on
        if (changes_lme(vcpu, value) && (virt->get(vcpu, BACKEND_CR0) & CR0_PG))
            return -1;
        break;
    case BACKEND_TSC_AUX:
        if (!virt_host.rdtscp)
            return -1;
        break;
    default:
        break;
    }
    virt->set(vcpu, which, value);
    return 0;
}

static uint64_t get_tsc(struct guest_msrs *msrs) {
    return virt_guest_tsc(vcpu_of_msrs(msrs));
}

static void cpuid_inputs_changed(struct guest_msrs *msrs) {
    virt_cpuid_update(vcpu_of_msrs(msrs));
}

static uint64_t host_msr(struct guest_msrs *msrs, uint32_t index) {
    return virt_host_msr(index);
}

static int command(struct guest_msrs *msrs, uint32_t index, uint64_t value) {
    bool possible = index == MSR_PRED_CMD    ? virt_host.spec_ctrl
                    : index == MSR_FLUSH_CMD ? virt_host.flush_l1d
                                             : false;
    if (!possible || (value & ~1ull))
        return -1;
    write_msr(index, value);
    return 0;
}

void virt_msr_backend(struct guest_msr_backend *backend) {
    backend->get = get;
    backend->set = set;
    backend->get_tsc = get_tsc;
    backend->command = command;
    backend->cpuid_inputs_changed = cpuid_inputs_changed;
    backend->host_msr = host_msr;
}
