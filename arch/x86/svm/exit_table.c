// SPDX-License-Identifier: BSD-2-Clause
// VM exits by code (APM vol. 2 appendix C): one row each, with the length of the opcode for
// processors without next RIP.
#include <asm/svm.h>
#include "arch/x86/cpu/fpu.h"
#include "arch/x86/guest/vcpu_instruction.h"
#include "arch/x86/svm/vcpu.h"

#define HANDLER(name)                                                                              \
    static enum exit_action name(struct virt_vcpu *vcpu, struct svm_vcpu *v, struct virt_exit *exit)
#define UNUSED(...) (void)sizeof((const void *[]){__VA_ARGS__})

HANDLER(exit_cpuid) {
    UNUSED(exit);
    vcpu->statistics.cpuid_exits++;
    if (vcpu_cpuid_faults(vcpu) && v->vmcb->cpl) {
        svm_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    vcpu_cpuid(vcpu);
    svm_skip(vcpu);
    return EXIT_RESUME;
}

HANDLER(exit_msr) {
    bool write = v->vmcb->exit_info1;
    vcpu->statistics.msr_exits++;
    if (write && (uint32_t)vcpu->gpr[GPR_RCX] >> 8 == 8) // x2APIC: EOI, TPR and self-IPI change
        v->recheck_events = true;                        // what can be injected
    if (!(write ? vcpu_wrmsr(vcpu, exit) : vcpu_rdmsr(vcpu, exit)))
        return EXIT_LEAVE;
    svm_skip(vcpu);
    return EXIT_RESUME;
}

// -- to core --

HANDLER(exit_port) {
    uint64_t information = v->vmcb->exit_info1; // APM vol. 2 15.10.2
    UNUSED(vcpu);
    if (information & IO_STRING) {
        exit->kind = VIRT_EXIT_EMULATE;
        return EXIT_LEAVE;
    }
    v->next_rip = v->vmcb->exit_info2;
    exit->kind = VIRT_EXIT_PORT;
    exit->port.port = (uint16_t)(information >> 16);
    exit->port.size = information >> 4 & 7;
    exit->port.in = information & IO_IN;
    return EXIT_LEAVE;
}

enum exit_action svm_exit_nested_page_fault(struct virt_vcpu *vcpu, struct svm_vcpu *v,
                                            struct virt_exit *exit) {
    uint64_t error = v->vmcb->exit_info1;
    UNUSED(vcpu);
    exit->kind = VIRT_EXIT_STAGE2;
    exit->stage2.gpa = v->vmcb->exit_info2;
    exit->stage2.write = error & NPF_WRITE;
    exit->stage2.page_walk = error & NPF_PAGE_WALK;
    exit->stage2.linear_valid = false;
    exit->stage2.linear = 0;
    return EXIT_LEAVE;
}

enum exit_action svm_internal_error(struct virt_exit *exit, uint32_t suberror, uint64_t first,
                                    uint64_t second) {
    exit->kind = VIRT_EXIT_INTERNAL_ERROR;
    exit->error.suberror = suberror;
    exit->error.count = 2;
    exit->error.data[0] = first;
    exit->error.data[1] = second;
    return EXIT_LEAVE;
}

// Hardware task switches exist only in 32-bit code; nothing emulates them.
HANDLER(exit_task_switch) {
    UNUSED(vcpu);
    return svm_internal_error(exit, KVM_INTERNAL_ERROR_EMULATION, v->vmcb->exit_code,
                              v->vmcb->exit_info1);
}

HANDLER(exit_halt) {
    UNUSED(v);
    svm_skip(vcpu);
    exit->kind = VIRT_EXIT_HALT;
    return EXIT_LEAVE;
}

HANDLER(exit_shutdown) {
    UNUSED(v, vcpu);
    exit->kind = VIRT_EXIT_SHUTDOWN;
    return EXIT_LEAVE;
}

HANDLER(exit_hypercall) {
    UNUSED(v);
    svm_skip(vcpu);
    exit->kind = VIRT_EXIT_HYPERCALL;
    return EXIT_LEAVE;
}

HANDLER(exit_pause) {
    UNUSED(v);
    svm_skip(vcpu);
    exit->kind = VIRT_EXIT_PAUSE;
    return EXIT_LEAVE;
}

// -- the vCPU's own --

// It waits in the local APIC: taken through the IDT as soon as IF lets it.
HANDLER(exit_interrupt) {
    UNUSED(v, exit);
    vcpu->statistics.irq_exits++;
    __asm__ volatile("sti; nop; cli" ::: "memory");
    return EXIT_RESUME;
}

// An NMI was taken when STGI followed the exit, an INIT takes effect then, a machine check too.
HANDLER(exit_host_event) {
    UNUSED(vcpu, v, exit);
    return EXIT_RESUME;
}

HANDLER(exit_machine_check) {
    UNUSED(vcpu, v, exit);
    __asm__ volatile("int $18");
    return EXIT_RESUME;
}

HANDLER(exit_interrupt_window) {
    vcpu->statistics.irq_window_exits++;
    v->recheck_events = true; // the next entry closes it or opens it again
    if (!vcpu->interrupt_window_requested || vcpu->events.user_interrupt >= 0)
        return EXIT_RESUME;
    exit->kind = VIRT_EXIT_INTERRUPT_WINDOW;
    return EXIT_LEAVE;
}

HANDLER(exit_iret) {
    UNUSED(vcpu, exit);
    v->iret_pending = true;
    v->iret_rip = v->vmcb->rip;
    vmcb_intercept(v, SVM_EXIT_IRET, false);
    v->recheck_events = true;
    return EXIT_RESUME;
}

HANDLER(exit_xsetbv) {
    uint64_t value = vcpu_edx_eax(vcpu);
    UNUSED(exit);
    if (v->vmcb->cpl || (uint32_t)vcpu->gpr[GPR_RCX] != 0 || virt_set_xcr0(vcpu, value)) {
        svm_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    // The guest's vector registers are loaded during a run.
    __asm__ volatile("xsetbv" ::"c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
    svm_skip(vcpu);
    return EXIT_RESUME;
}

// INVD and WBINVD: caches are coherent, no device bypasses them.
HANDLER(exit_skip) {
    UNUSED(v, exit);
    svm_skip(vcpu);
    return EXIT_RESUME;
}

HANDLER(exit_mwait) {
    UNUSED(v, exit);
    if (vcpu_mwait_undefined(vcpu))
        svm_raise(vcpu, GUEST_UD);
    else
        svm_skip(vcpu);
    return EXIT_RESUME;
}

// No performance counters are offered.
HANDLER(exit_rdpmc) {
    UNUSED(v, exit);
    svm_raise_error(vcpu, GUEST_GP, 0);
    return EXIT_RESUME;
}

// SVM instructions and others of a guest that has none of them.
HANDLER(exit_undefined) {
    UNUSED(v, exit);
    svm_raise(vcpu, GUEST_UD);
    return EXIT_RESUME;
}

HANDLER(exit_invalid_opcode) {
    UNUSED(vcpu, v);
    exit->kind = VIRT_EXIT_UNDEFINED;
    return EXIT_LEAVE;
}

HANDLER(exit_alignment_check) {
    UNUSED(exit);
    svm_raise_error(vcpu, GUEST_AC, (uint32_t)v->vmcb->exit_info1);
    return EXIT_RESUME;
}

#define EXCEPTION(vector) (SVM_EXIT_EXCP_BASE + (vector))

const struct exit_row svm_exit_table[SVM_EXIT_ROWS] = {
    [SVM_EXIT_READ_CR0] = {svm_exit_control_register, 0, false},
    [SVM_EXIT_READ_CR4] = {svm_exit_control_register, 0, false},
    [SVM_EXIT_WRITE_CR0] = {svm_exit_control_register, 0, false},
    [SVM_EXIT_WRITE_CR4] = {svm_exit_control_register, 0, true},
    [SVM_EXIT_WRITE_CR8] = {svm_exit_control_register, 0, false},
    [SVM_EXIT_READ_DR0... SVM_EXIT_READ_DR7] = {svm_exit_debug_register, 0, true},
    [SVM_EXIT_WRITE_DR0... SVM_EXIT_WRITE_DR7] = {svm_exit_debug_register, 0, true},
    [EXCEPTION(1)] = {svm_exit_debug_exception, 0, false}, // which exceptions exit changes
    [EXCEPTION(3)] = {svm_exit_breakpoint, 0, false},
    [EXCEPTION(6)] = {exit_invalid_opcode, 0, false},
    [EXCEPTION(17)] = {exit_alignment_check, 0, false},
    [EXCEPTION(18)] = {exit_machine_check, 0, false},
    [SVM_EXIT_INTR] = {exit_interrupt, 0, true},
    [SVM_EXIT_NMI] = {exit_host_event, 0, true},
    [SVM_EXIT_INIT] = {exit_host_event, 0, true},
    [SVM_EXIT_VINTR] = {exit_interrupt_window, 0, false},
    [SVM_EXIT_CR0_SEL_WRITE] = {svm_exit_control_register, 0, true},
    [SVM_EXIT_RDPMC] = {exit_rdpmc, 0, true},
    [SVM_EXIT_CPUID] = {exit_cpuid, 2, true},
    [SVM_EXIT_SWINT] = {svm_exit_software_interrupt, 0, false},
    [SVM_EXIT_IRET] = {exit_iret, 0, false},
    [SVM_EXIT_INVD] = {exit_skip, 2, true},
    [SVM_EXIT_PAUSE] = {exit_pause, 1, true},
    [SVM_EXIT_HLT] = {exit_halt, 1, true},
    [SVM_EXIT_INVLPGA] = {exit_undefined, 0, true},
    [SVM_EXIT_IOIO] = {exit_port, 0, true},
    [SVM_EXIT_MSR] = {exit_msr, 2, true},
    [SVM_EXIT_TASK_SWITCH] = {exit_task_switch, 0, true},
    [SVM_EXIT_SHUTDOWN] = {exit_shutdown, 0, true},
    [SVM_EXIT_VMRUN] = {exit_undefined, 0, true},
    [SVM_EXIT_VMMCALL] = {exit_hypercall, 3, true},
    [SVM_EXIT_VMLOAD] = {exit_undefined, 0, true},
    [SVM_EXIT_VMSAVE] = {exit_undefined, 0, true},
    [SVM_EXIT_STGI] = {exit_undefined, 0, true},
    [SVM_EXIT_CLGI] = {exit_undefined, 0, true},
    [SVM_EXIT_SKINIT] = {exit_undefined, 0, true},
    [SVM_EXIT_WBINVD] = {exit_skip, 2, true},
    [SVM_EXIT_MONITOR] = {exit_mwait, 3, true},
    [SVM_EXIT_MWAIT] = {exit_mwait, 3, true},
    [SVM_EXIT_XSETBV] = {exit_xsetbv, 3, true},
    [SVM_EXIT_RDPRU] = {exit_undefined, 0, true},
};
