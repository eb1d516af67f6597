// SPDX-License-Identifier: BSD-2-Clause
// Debug registers: MOV DR always exits, #DB too, so DR6 and DR7 live in struct virt_vcpu; DR0-3 are
// loaded only while a breakpoint is enabled. A debugger in user space (KVM_SET_GUEST_DEBUG) takes
// them over.
#include <asm/processor-flags.h>
#include "arch/x86/vmx/vcpu.h"

#define DR7_ENABLES  0xffull
#define DR7_FIXED    0x400ull
#define DR7_GD       (1ull << 13)
#define DR7_RESERVED 0xd800ull // bits 11, 12, 14, 15 read as 0
#define DR6_BD       (1ull << 13)
#define DR6_BS       (1ull << 14)
#define DR6_FIXED    0xffff0ff0ull
#define DR6_VOLATILE 0xe00full

#define EXCEPTION_BIT(vector) (1u << (vector))
#define VECTOR_BP             3
#define VECTOR_MC             18

static bool debugging(const struct virt_vcpu *vcpu, uint32_t flag) {
    return (vcpu->guest_debug.control & KVM_GUESTDBG_ENABLE) && (vcpu->guest_debug.control & flag);
}

static const uint64_t *breakpoints(const struct virt_vcpu *vcpu) {
    return debugging(vcpu, KVM_GUESTDBG_USE_HW_BP)
               ? (const uint64_t *)vcpu->guest_debug.arch.debugreg
               : vcpu->debug;
}

void vmx_debug_changed(struct virt_vcpu *vcpu) {
    struct vmx_vcpu *v = vmx_of(vcpu);
    vmcs_use(v);
    uint64_t dr7 =
        debugging(vcpu, KVM_GUESTDBG_USE_HW_BP) ? vcpu->guest_debug.arch.debugreg[7] : vcpu->dr7;
    // GD is emulated: MOV DR exits before the processor looks at it.
    vmwrite(VMCS_GUEST_DR7, (dr7 & ~(DR7_GD | DR7_RESERVED) & UINT32_MAX) | DR7_FIXED);
    v->debug_registers = dr7 & DR7_ENABLES;
    // #DB: DR6 is ours to keep, and #AC, #DB in a loop must not hang the CPU (CVE-2015-5307,
    // CVE-2015-8104). #UD: RSM, and the other vendor's hypercall.
    uint32_t exceptions = EXCEPTION_BIT(GUEST_DB) | EXCEPTION_BIT(GUEST_UD) |
                          EXCEPTION_BIT(GUEST_AC) | EXCEPTION_BIT(VECTOR_MC);
    if (debugging(vcpu, KVM_GUESTDBG_USE_SW_BP))
        exceptions |= EXCEPTION_BIT(VECTOR_BP);
    if (v->exceptions != exceptions) {
        v->exceptions = exceptions;
        vmwrite(VMCS_EXCEPTION_BITMAP, exceptions);
    }
    // TF belongs to the debugger while it steps.
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    if (debugging(vcpu, KVM_GUESTDBG_SINGLESTEP))
        vmwrite(VMCS_GUEST_RFLAGS, rflags | X86_EFLAGS_TF);
    else if (vcpu->user_debug_stepping)
        vmwrite(VMCS_GUEST_RFLAGS, rflags & ~X86_EFLAGS_TF);
    vcpu->user_debug_stepping = debugging(vcpu, KVM_GUESTDBG_SINGLESTEP);
}

void vmx_load_debug_registers(struct virt_vcpu *vcpu) {
    const uint64_t *values = breakpoints(vcpu);
    write_dr0(values[0]);
    write_dr1(values[1]);
    write_dr2(values[2]);
    write_dr3(values[3]);
    write_dr6(DR6_FIXED);
}

static uint64_t read_debug_register(const struct virt_vcpu *vcpu, unsigned number) {
    return number < 4 ? vcpu->debug[number] : number == 6 ? vcpu->dr6 : vcpu->dr7;
}

// False: #GP(0).
static bool write_debug_register(struct virt_vcpu *vcpu, unsigned number, uint64_t value) {
    if (number < 4) {
        vcpu->debug[number] = value;
    } else if (value >> 32) {
        return false;
    } else if (number == 6) {
        vcpu->dr6 = (value & DR6_VOLATILE) | DR6_FIXED;
    } else {
        vcpu->dr7 = (value & ~DR7_RESERVED) | DR7_FIXED;
    }
    vmx_debug_changed(vcpu);
    return true;
}

// GD: any access is a #DB before it happens, to the user-space debugger or to the guest.
static enum exit_action general_detect(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    if (debugging(vcpu, KVM_GUESTDBG_USE_HW_BP)) {
        exit->kind = VIRT_EXIT_DEBUG;
        exit->debug.exception = GUEST_DB;
        exit->debug.pc = vmread(VMCS_GUEST_CS_BASE) + vmread(VMCS_GUEST_RIP);
        exit->debug.dr6 = DR6_FIXED | DR6_BD;
        exit->debug.dr7 = vcpu->guest_debug.arch.debugreg[7];
        return EXIT_LEAVE;
    }
    virt_raise(vcpu, &(struct guest_exception){.vector = GUEST_DB, .cr2 = DR6_BD});
    vmx_of(vcpu)->recheck_events = true;
    return EXIT_RESUME;
}

enum exit_action exit_debug_register(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                     struct virt_exit *exit) {
    (void)v;
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-4
    unsigned number = qualification & 7, gpr = qualification >> 8 & 15;
    bool read = qualification >> 4 & 1;
    uint64_t dr7 =
        debugging(vcpu, KVM_GUESTDBG_USE_HW_BP) ? vcpu->guest_debug.arch.debugreg[7] : vcpu->dr7;

    if (number == 4 || number == 5) {
        if (vmx_get_cr4(vcpu) & X86_CR4_DE) {
            vmx_raise(vcpu, GUEST_UD);
            return EXIT_RESUME;
        }
        number += 2;
    }
    if (dr7 & DR7_GD)
        return general_detect(vcpu, exit);
    if (read) {
        uint64_t value = read_debug_register(vcpu, number);
        if (gpr == 4)
            vmwrite(VMCS_GUEST_RSP, value);
        else
            vcpu->gpr[gpr] = value;
    } else if (!write_debug_register(vcpu, number,
                                     gpr == 4 ? vmread(VMCS_GUEST_RSP) : vcpu->gpr[gpr])) {
        vmx_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    vmx_skip();
    return EXIT_RESUME;
}

// -- exceptions that exit (SDM vol. 3 28.2.2) --

static enum exit_action debug_exit(struct virt_vcpu *vcpu, struct virt_exit *exit, uint32_t vector,
                                   uint64_t dr6) {
    exit->kind = VIRT_EXIT_DEBUG;
    exit->debug.exception = vector;
    exit->debug.pc = vmread(VMCS_GUEST_CS_BASE) + vmread(VMCS_GUEST_RIP);
    exit->debug.dr6 = dr6;
    exit->debug.dr7 = vmread(VMCS_GUEST_DR7);
    (void)vcpu;
    return EXIT_LEAVE;
}

// STI or MOV SS blocking with TF set needs the step trap to be marked pending, or the entry fails
// (SDM vol. 3 27.3.1.5).
static void keep_step_consistent(void) {
    uint64_t blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS);
    if (blocking && (vmread(VMCS_GUEST_RFLAGS) & X86_EFLAGS_TF))
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
}

static enum exit_action exit_debug_exception(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                             uint32_t information) {
    uint64_t hit = vmread(VMCS_EXIT_QUALIFICATION) & DR6_VOLATILE; // B0-B3, BD, BS
    if (debugging(vcpu, KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_HW_BP)) {
        bool ours = ((hit & DR6_BS) && debugging(vcpu, KVM_GUESTDBG_SINGLESTEP)) ||
                    ((hit & 15) && debugging(vcpu, KVM_GUESTDBG_USE_HW_BP));
        if (ours)
            return debug_exit(vcpu, exit, GUEST_DB, hit | DR6_FIXED);
    }
    keep_step_consistent();
    virt_raise(vcpu, &(struct guest_exception){.vector = GUEST_DB, .cr2 = hit});
    if ((information & INTERRUPTION_TYPE) ==
        INTERRUPTION_PRIVILEGED_SOFT) // INT1 is a trap: past it
        vmx_skip();
    return EXIT_RESUME;
}

enum exit_action exit_exception(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                struct virt_exit *exit) {
    uint32_t information = (uint32_t)vmread(VMCS_EXIT_INTERRUPTION);
    uint32_t vector = information & INTERRUPTION_VECTOR;
    vmx_events_exit(vcpu, v);
    v->recheck_events = true;
    if ((information & INTERRUPTION_TYPE) == INTERRUPTION_NMI) {
        __asm__ volatile("int $2"); // the host's NMI; the handler's IRET ends the blocking
        return EXIT_RESUME;
    }
    switch (vector) {
    case VECTOR_MC:
        __asm__ volatile("int $18");
        return EXIT_RESUME;
    case GUEST_DB:
        return exit_debug_exception(vcpu, exit, information);
    case VECTOR_BP:
        return debug_exit(vcpu, exit, VECTOR_BP, vcpu->dr6);
    case GUEST_UD:
        exit->kind = VIRT_EXIT_UNDEFINED;
        return EXIT_LEAVE;
    default: // #AC
        vmx_raise_error(vcpu, (uint8_t)vector, (uint32_t)vmread(VMCS_EXIT_INTERRUPTION_ERROR));
        return EXIT_RESUME;
    }
}
