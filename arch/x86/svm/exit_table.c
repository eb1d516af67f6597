// SPDX-License-Identifier: BSD-2-Clause
// VM exits by code (APM vol. 2 appendix C): one row each, with the length of the opcode for
// processors without next RIP.
#include <asm/svm.h>
#include "arch/x86/svm/vcpu.h"

#define CPUID_XSAVE_LEAF 0xd // its sizes follow XCR0

static HANDLER(exit_cpuid_leaf) {
    if (__builtin_expect((uint32_t)vcpu->gpr[GPR_RAX] == CPUID_XSAVE_LEAF, 0))
        svm_adopt_xcr0(vcpu);
    return exit_cpuid(vcpu, exit);
}

static HANDLER(exit_msr) {
    return svm_of(vcpu)->vmcb->exit_info1 ? exit_msr_write(vcpu, exit) : exit_msr_read(vcpu, exit);
}

static HANDLER(exit_port) {
    struct svm_vcpu *v = svm_of(vcpu);
    uint64_t information = v->vmcb->exit_info1; // APM vol. 2 15.10.2
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

HANDLER(svm_exit_nested_page_fault) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    uint64_t error = vmcb->exit_info1;
    exit->kind = VIRT_EXIT_STAGE2;
    exit->stage2.gpa = vmcb->exit_info2;
    exit->stage2.write = error & NPF_WRITE;
    exit->stage2.page_walk = error & NPF_PAGE_WALK;
    exit->stage2.linear_valid = false;
    exit->stage2.linear = 0;
    return EXIT_LEAVE;
}

static HANDLER(exit_task_switch) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    return exit_task_switch_to(exit, vmcb->exit_code, vmcb->exit_info1);
}

// -- the vCPU's own --

// It waits in the local APIC: taken through the IDT as soon as IF lets it.
static HANDLER(exit_interrupt) {
    vcpu->statistics.irq_exits++;
    __asm__ volatile("sti; nop; cli" ::: "memory");
    return EXIT_RESUME;
}

static HANDLER(exit_machine_check) {
    __asm__ volatile("int $18");
    return EXIT_RESUME;
}

static HANDLER(exit_iret) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->iret_pending = true;
    v->iret_rip = v->vmcb->rip;
    vmcb_intercept(v, SVM_EXIT_IRET, false);
    return exit_recheck(vcpu, exit);
}

static HANDLER(exit_alignment_check) {
    virt_raise_error(vcpu, GUEST_AC, (uint32_t)svm_of(vcpu)->vmcb->exit_info1);
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
    [EXCEPTION(3)] = {exit_breakpoint, 0, false},
    [EXCEPTION(6)] = {exit_invalid_opcode, 0, false},
    [EXCEPTION(17)] = {exit_alignment_check, 0, false},
    [EXCEPTION(18)] = {exit_machine_check, 0, false},
    [SVM_EXIT_INTR] = {exit_interrupt, 0, true},
    // An NMI was taken when STGI followed the exit, an INIT takes effect then.
    [SVM_EXIT_NMI] = {exit_ignored, 0, true},
    [SVM_EXIT_INIT] = {exit_ignored, 0, true},
    [SVM_EXIT_VINTR] = {svm_exit_virtual_interrupt, 0, false},
    [SVM_EXIT_CR0_SEL_WRITE] = {svm_exit_control_register, 0, true},
    [SVM_EXIT_RDPMC] = {exit_protection, 0, true}, // no counters are offered
    [SVM_EXIT_CPUID] = {exit_cpuid_leaf, 2, true},
    [SVM_EXIT_SWINT] = {svm_exit_software_interrupt, 0, false},
    [SVM_EXIT_IRET] = {exit_iret, 0, false},
    [SVM_EXIT_INVD] = {exit_nothing, 2, true},
    [SVM_EXIT_PAUSE] = {exit_pause, 1, true},
    [SVM_EXIT_HLT] = {exit_halt, 1, true},
    [SVM_EXIT_INVLPGA] = {exit_undefined, 0, true},
    [SVM_EXIT_IOIO] = {exit_port, 0, true},
    [SVM_EXIT_MSR] = {exit_msr, 2, true},
    [SVM_EXIT_TASK_SWITCH] = {exit_task_switch, 0, true},
    [SVM_EXIT_SHUTDOWN] = {exit_shutdown, 0, true},
    [SVM_EXIT_VMRUN] = {exit_undefined, 0, true},
    [SVM_EXIT_VMMCALL] = {exit_hypercall, 3, true},
    [SVM_EXIT_VMLOAD... SVM_EXIT_SKINIT] = {exit_undefined, 0, true},
    [SVM_EXIT_WBINVD] = {exit_nothing, 2, true},
    [SVM_EXIT_MONITOR] = {exit_mwait, 3, true},
    [SVM_EXIT_MWAIT] = {exit_mwait, 3, true},
    [SVM_EXIT_XSETBV] = {exit_xsetbv, 3, true},
    [SVM_EXIT_RDPRU] = {exit_undefined, 0, true},
};
