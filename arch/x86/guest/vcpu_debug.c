// SPDX-License-Identifier: BSD-2-Clause
// Debug registers of a vCPU: what is in force, and what MOV DR, #DB and INT3 do.
#include "arch/x86/guest/vcpu_exit.h"
#include <asm/processor-flags.h>

#define DR7_RESERVED 0xd800ull // bits 11, 12, 14, 15 read as 0

static uint64_t control_in_force(const struct virt_vcpu *vcpu) {
    return vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP) ? vcpu->guest_debug.arch.debugreg[7]
                                                        : vcpu->dr7;
}

const uint64_t *vcpu_load_breakpoints(const struct virt_vcpu *vcpu) {
    const uint64_t *values = vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP)
                                 ? (const uint64_t *)vcpu->guest_debug.arch.debugreg
                                 : vcpu->debug;
    write_dr0(values[0]);
    write_dr1(values[1]);
    write_dr2(values[2]);
    write_dr3(values[3]);
    write_dr6(DR6_FIXED);
    return values;
}

uint64_t vcpu_breakpoint_control(struct virt_vcpu *vcpu) {
    uint64_t dr7 = control_in_force(vcpu);
    vcpu->debug_registers = dr7 & DR7_ENABLES;
    return (dr7 & ~(DR7_GD | DR7_RESERVED) & UINT32_MAX) | DR7_FIXED;
}

uint32_t vcpu_debug_exceptions(const struct virt_vcpu *vcpu) {
    // #DB: DR6 is ours to keep, and #AC, #DB in a loop must not hang the CPU (CVE-2015-5307,
    // CVE-2015-8104). #UD: RSM, and the other vendor's hypercall.
    uint32_t exceptions = EXCEPTION_BIT(GUEST_DB) | EXCEPTION_BIT(GUEST_UD) |
                          EXCEPTION_BIT(GUEST_AC) | EXCEPTION_BIT(GUEST_MC);
    if (vcpu_debugging(vcpu, KVM_GUESTDBG_USE_SW_BP))
        exceptions |= EXCEPTION_BIT(GUEST_BP);
    return exceptions;
}

void vcpu_step(struct virt_vcpu *vcpu) {
    bool stepping = vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP);
    uint64_t rflags = virt->get(vcpu, BACKEND_RFLAGS);
    if (stepping) {
        virt->set(vcpu, BACKEND_RFLAGS, rflags | X86_EFLAGS_TF);
    } else if (vcpu->user_debug_stepping) {
        virt->set(vcpu, BACKEND_RFLAGS, rflags & ~(uint64_t)X86_EFLAGS_TF);
        vcpu->step_due = false;
    }
    vcpu->user_debug_stepping = stepping;
}

bool vcpu_debug_is_ours(const struct virt_vcpu *vcpu, uint64_t hit) {
    return ((hit & DR6_BS) && vcpu_debugging(vcpu, KVM_GUESTDBG_SINGLESTEP)) ||
           ((hit & 15) && vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP));
}

enum exit_action vcpu_to_debugger(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                  uint32_t exception, uint64_t dr6) {
    exit->kind = VIRT_EXIT_DEBUG;
    exit->debug.exception = exception;
    exit->debug.pc = vcpu_linear_rip(vcpu);
    exit->debug.dr6 = dr6;
    exit->debug.dr7 = control_in_force(vcpu);
    return EXIT_LEAVE;
}

HANDLER(exit_breakpoint) {
    return vcpu_to_debugger(vcpu, exit, GUEST_BP, vcpu->dr6);
}

enum exit_action vcpu_debug_exception(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                      uint64_t hit) {
    if (vcpu_debug_is_ours(vcpu, hit))
        return vcpu_to_debugger(vcpu, exit, GUEST_DB, hit | DR6_FIXED);
    virt_raise(vcpu, &(struct guest_exception){.vector = GUEST_DB, .cr2 = hit});
    return EXIT_RESUME;
}

bool vcpu_take_step(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    vcpu->step_due = false;
    return vcpu_debug_exception(vcpu, exit, DR6_BS) == EXIT_LEAVE;
}

// DR7.GD: any access is a #DB before it happens, to the user-space debugger or to the guest.
static enum exit_action general_detect(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    if (vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP))
        return vcpu_to_debugger(vcpu, exit, GUEST_DB, DR6_FIXED | DR6_BD);
    virt_raise(vcpu, &(struct guest_exception){.vector = GUEST_DB, .cr2 = DR6_BD});
    return EXIT_RESUME;
}

// False: #GP(0).
static bool write_register(struct virt_vcpu *vcpu, unsigned number, uint64_t value) {
    if (number < 4)
        vcpu->debug[number] = value;
    else if (value >> 32)
        return false;
    else if (number == 6)
        vcpu->dr6 = (value & DR6_VOLATILE) | DR6_FIXED;
    else
        vcpu->dr7 = (value & ~DR7_RESERVED) | DR7_FIXED;
    virt->debug_changed(vcpu);
    return true;
}

enum exit_action vcpu_move_debug(struct virt_vcpu *vcpu, struct virt_exit *exit, bool write,
                                 unsigned number, unsigned gpr) {
    // DR4 and DR5 are DR6 and DR7 unless CR4.DE says they do not exist.
    if (number == 4 || number == 5) {
        if (virt->get(vcpu, BACKEND_CR4) & X86_CR4_DE)
            return exit_undefined(vcpu, exit);
        number += 2;
    }
    if (control_in_force(vcpu) & DR7_GD)
        return general_detect(vcpu, exit);
    if (!write)
        vcpu_set_gpr(vcpu, gpr,
                     number < 4    ? vcpu->debug[number]
                     : number == 6 ? vcpu->dr6
                                   : vcpu->dr7);
    else if (!write_register(vcpu, number, vcpu_gpr(vcpu, gpr)))
        return exit_protection(vcpu, exit);
    return EXIT_SKIP;
}
