// SPDX-License-Identifier: BSD-2-Clause
// Debug registers of a vCPU: what is in force, and what MOV DR does.
#include "arch/x86/guest/vcpu_debug.h"
#include <asm/processor-flags.h>

#define DR7_RESERVED 0xd800ull // bits 11, 12, 14, 15 read as 0

static uint64_t control_in_force(const struct virt_vcpu *vcpu) {
    return vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP) ? vcpu->guest_debug.arch.debugreg[7]
                                                        : vcpu->dr7;
}

const uint64_t *vcpu_breakpoints(const struct virt_vcpu *vcpu) {
    return vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP)
               ? (const uint64_t *)vcpu->guest_debug.arch.debugreg
               : vcpu->debug;
}

uint64_t vcpu_breakpoint_control(const struct virt_vcpu *vcpu) {
    return (control_in_force(vcpu) & ~(DR7_GD | DR7_RESERVED) & UINT32_MAX) | DR7_FIXED;
}

uint32_t vcpu_debug_exceptions(const struct virt_vcpu *vcpu) {
    // #DB: DR6 is ours to keep, and #AC, #DB in a loop must not hang the CPU (CVE-2015-5307,
    // CVE-2015-8104). #UD: RSM, and the other vendor's hypercall.
    uint32_t exceptions = EXCEPTION_BIT(GUEST_DB) | EXCEPTION_BIT(GUEST_UD) |
                          EXCEPTION_BIT(GUEST_AC) | EXCEPTION_BIT(VECTOR_MC);
    if (vcpu_debugging(vcpu, KVM_GUESTDBG_USE_SW_BP))
        exceptions |= EXCEPTION_BIT(VECTOR_BP);
    return exceptions;
}

uint64_t vcpu_step_rflags(struct virt_vcpu *vcpu, uint64_t rflags) {
    bool stepping = vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP);
    if (stepping)
        rflags |= X86_EFLAGS_TF;
    else if (vcpu->user_debug_stepping)
        rflags &= ~(uint64_t)X86_EFLAGS_TF;
    vcpu->user_debug_stepping = stepping;
    return rflags;
}

// DR4 and DR5 are DR6 and DR7 unless CR4.DE says they do not exist.
static enum vcpu_debug_access check(const struct virt_vcpu *vcpu, unsigned *number, uint64_t cr4) {
    if (*number == 4 || *number == 5) {
        if (cr4 & X86_CR4_DE)
            return DEBUG_ACCESS_UNDEFINED;
        *number += 2;
    }
    return control_in_force(vcpu) & DR7_GD ? DEBUG_ACCESS_DETECTED : DEBUG_ACCESS_DONE;
}

enum vcpu_debug_access vcpu_debug_read(const struct virt_vcpu *vcpu, unsigned number, uint64_t cr4,
                                       uint64_t *value) {
    enum vcpu_debug_access result = check(vcpu, &number, cr4);
    if (result == DEBUG_ACCESS_DONE)
        *value = number < 4 ? vcpu->debug[number] : number == 6 ? vcpu->dr6 : vcpu->dr7;
    return result;
}

enum vcpu_debug_access vcpu_debug_write(struct virt_vcpu *vcpu, unsigned number, uint64_t cr4,
                                        uint64_t value) {
    enum vcpu_debug_access result = check(vcpu, &number, cr4);
    if (result != DEBUG_ACCESS_DONE)
        return result;
    if (number < 4)
        vcpu->debug[number] = value;
    else if (value >> 32)
        return DEBUG_ACCESS_PROTECTION;
    else if (number == 6)
        vcpu->dr6 = (value & DR6_VOLATILE) | DR6_FIXED;
    else
        vcpu->dr7 = (value & ~DR7_RESERVED) | DR7_FIXED;
    return DEBUG_ACCESS_DONE;
}

bool vcpu_debug_is_ours(const struct virt_vcpu *vcpu, uint64_t hit) {
    return ((hit & DR6_BS) && vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP)) ||
           ((hit & 15) && vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP));
}
