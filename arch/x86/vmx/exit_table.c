// SPDX-License-Identifier: BSD-2-Clause
// VM exits by reason (SDM vol. 3 appendix C): one row each.
#include <asm/processor-flags.h>
#include <asm/vmx.h>
#include "arch/x86/irq.h"
#include "arch/x86/vmx/vcpu.h"
#include "core/log.h"

static HANDLER(exit_port) {
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-5
    if (qualification & 1 << 4) {
        exit->kind = VIRT_EXIT_EMULATE;
        return EXIT_LEAVE;
    }
    exit->kind = VIRT_EXIT_PORT;
    exit->port.port = (uint16_t)(qualification >> 16);
    exit->port.size = (uint8_t)((qualification & 7) + 1);
    exit->port.in = qualification >> 3 & 1;
    return EXIT_LEAVE;
}

// A delivery whose IRET or NMI was cut off by a stage-2 fault: NMIs were unblocked by the IRET,
// which will run again.
static void restore_nmi_blocking(uint64_t unblocked) {
    if (unblocked && !(vmread(VMCS_IDT_VECTORING) & EVENT_VALID))
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_NMI);
}

// The instruction will run again, so no single step is due yet. A processor leaves none pending
// (SDM vol. 3 28.3.4); Bochs 2.7 has noted it at the instruction's start.
static void drop_pending_step(void) {
    if (__builtin_expect(vmread(VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS, 0) &&
        !(vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_MOV_SS))
        vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
}

static HANDLER(exit_ept_violation) {
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-7
    vmx_events_exit(vcpu);
    restore_nmi_blocking(qualification & 1 << 12);
    drop_pending_step();
    exit->kind = VIRT_EXIT_STAGE2;
    exit->stage2.gpa = vmread(VMCS_GUEST_PHYSICAL_ADDRESS);
    exit->stage2.write = qualification >> 1 & 1;
    exit->stage2.linear_valid = qualification >> 7 & 1;
    exit->stage2.page_walk = exit->stage2.linear_valid && !(qualification >> 8 & 1);
    exit->stage2.linear = exit->stage2.linear_valid ? vmread(VMCS_GUEST_LINEAR_ADDRESS) : 0;
    return EXIT_LEAVE;
}

// The buffer was emptied right after the exit.
static HANDLER(exit_write_log_full) {
    vmx_events_exit(vcpu);
    restore_nmi_blocking(vmread(VMCS_EXIT_QUALIFICATION) & 1 << 12);
    drop_pending_step();
    return EXIT_RESUME;
}

static HANDLER(exit_ept_misconfiguration) {
    uint64_t gpa = vmread(VMCS_GUEST_PHYSICAL_ADDRESS);
    vmx_events_exit(vcpu);
    log_line("VT-x: EPT misconfiguration at guest-physical %lx", gpa);
    return exit_internal_error(exit, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
                               EXIT_REASON_EPT_MISCONFIG, gpa);
}

static HANDLER(exit_task_switch) {
    vmx_events_exit(vcpu);
    return exit_task_switch_to(exit, EXIT_REASON_TASK_SWITCH, vmread(VMCS_EXIT_QUALIFICATION));
}

// -- the vCPU's own --

static HANDLER(exit_external_interrupt) {
    vcpu->statistics.irq_exits++;
    irq_dispatch(vmread(VMCS_EXIT_INTERRUPTION) & EVENT_VECTOR);
    return EXIT_RESUME;
}

// A host interrupt ends the guest by itself; this is the net below it. Bochs 2.7 holds interrupts
// back from a guest that is entered with IF clear, whatever "external-interrupt exiting" says: even
// one that exits all the time, so that its stays are counted together.
static HANDLER(exit_preemption_timer) {
    vmcs_start_preemption_timer();
    __asm__ volatile("sti; nop; cli" ::: "memory");
    return EXIT_RESUME;
}

enum { ACCESS_TO_CR, ACCESS_FROM_CR, ACCESS_CLTS, ACCESS_LMSW };

static HANDLER(exit_control_register) {
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-3
    unsigned number = qualification & 15, gpr = qualification >> 8 & 15;
    switch (qualification >> 4 & 3) {
    case ACCESS_TO_CR:
        return vcpu_write_control(vcpu, exit, number, vcpu_gpr(vcpu, gpr));
    case ACCESS_FROM_CR: // only CR8, without the TPR shadow: the others are read without an exit
        vcpu_set_gpr(vcpu, gpr, vcpu->cr8);
        return EXIT_SKIP;
    case ACCESS_CLTS:
        return vcpu_clear_task_switched(vcpu, exit);
    default:
        return vcpu_load_status(vcpu, exit, qualification >> 16);
    }
}

static HANDLER(exit_debug_register) {
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-4
    bool read = qualification >> 4 & 1;
    return vcpu_move_debug(vcpu, exit, !read, qualification & 7, qualification >> 8 & 15);
}

// -- exceptions (SDM vol. 3 28.2.2) --

static enum exit_action exit_debug_exception(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                             uint32_t information) {
    uint64_t hit = vmread(VMCS_EXIT_QUALIFICATION) & DR6_VOLATILE;
    enum exit_action action = vcpu_debug_exception(vcpu, exit, hit);
    if (action == EXIT_LEAVE)
        return action;
    // STI or MOV SS blocking with TF set needs the step trap to be marked pending, or the entry
    // fails (SDM vol. 3 27.3.1.5).
    uint64_t blocking = vmread(VMCS_GUEST_INTERRUPTIBILITY) & (BLOCKING_STI | BLOCKING_MOV_SS);
    if (blocking && (vmread(VMCS_GUEST_RFLAGS) & X86_EFLAGS_TF))
        vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | PENDING_DEBUG_BS);
    // INT1 is a trap: past it.
    bool int1 = (information & EVENT_TYPE) >> EVENT_TYPE_SHIFT == EVENT_PRIVILEGED_SOFT;
    return int1 ? EXIT_SKIP : EXIT_RESUME;
}

static HANDLER(exit_exception) {
    uint32_t information = (uint32_t)vmread(VMCS_EXIT_INTERRUPTION);
    uint8_t vector = information & EVENT_VECTOR;
    vmx_events_exit(vcpu);
    vcpu->recheck_events = true;
    if ((information & EVENT_TYPE) >> EVENT_TYPE_SHIFT == EVENT_NMI) {
        __asm__ volatile("int $2"); // the host's NMI; the handler's IRET ends the blocking
        return EXIT_RESUME;
    }
    switch (vector) {
    case GUEST_MC:
        __asm__ volatile("int $18");
        return EXIT_RESUME;
    case GUEST_DB:
        return exit_debug_exception(vcpu, exit, information);
    case GUEST_BP:
        return exit_breakpoint(vcpu, exit);
    case GUEST_UD:
        return exit_invalid_opcode(vcpu, exit);
    default: // #AC
        virt_raise_error(vcpu, vector, (uint32_t)vmread(VMCS_EXIT_INTERRUPTION_ERROR));
        return EXIT_RESUME;
    }
}

const exit_handler vmx_exit_table[EXIT_ROWS] = {
    [EXIT_REASON_EXCEPTION_NMI] = exit_exception,
    [EXIT_REASON_EXTERNAL_INTERRUPT] = exit_external_interrupt,
    [EXIT_REASON_TRIPLE_FAULT] = exit_shutdown,
    [EXIT_REASON_INTERRUPT_WINDOW] = exit_interrupt_window,
    [EXIT_REASON_NMI_WINDOW] = exit_recheck,
    [EXIT_REASON_TASK_SWITCH] = exit_task_switch,
    [EXIT_REASON_CPUID] = exit_cpuid,
    [EXIT_REASON_HLT] = exit_halt,
    [EXIT_REASON_INVD] = exit_nothing,
    [EXIT_REASON_RDPMC] = exit_protection, // no counters are offered
    [EXIT_REASON_VMCALL] = exit_hypercall,
    // VMX, SMX, SGX instructions of a guest that has none of them.
    [EXIT_REASON_VMCLEAR... EXIT_REASON_VMON] = exit_undefined,
    [EXIT_REASON_CR_ACCESS] = exit_control_register,
    [EXIT_REASON_DR_ACCESS] = exit_debug_register,
    [EXIT_REASON_IO_INSTRUCTION] = exit_port,
    [EXIT_REASON_MSR_READ] = exit_msr_read,
    [EXIT_REASON_MSR_WRITE] = exit_msr_write,
    [EXIT_REASON_MWAIT_INSTRUCTION] = exit_mwait,
    [EXIT_REASON_MONITOR_INSTRUCTION] = exit_mwait,
    [EXIT_REASON_PAUSE_INSTRUCTION] = exit_pause,
    [EXIT_REASON_TPR_BELOW_THRESHOLD] = exit_recheck,
    [EXIT_REASON_EPT_VIOLATION] = exit_ept_violation,
    [EXIT_REASON_EPT_MISCONFIG] = exit_ept_misconfiguration,
    [EXIT_REASON_INVEPT] = exit_undefined,
    [EXIT_REASON_PREEMPTION_TIMER] = exit_preemption_timer,
    [EXIT_REASON_INVVPID] = exit_undefined,
    [EXIT_REASON_WBINVD] = exit_nothing,
    [EXIT_REASON_XSETBV] = exit_xsetbv,
    [EXIT_REASON_VMFUNC] = exit_undefined,
    [EXIT_REASON_ENCLS] = exit_undefined,
    [EXIT_REASON_PML_FULL] = exit_write_log_full,
    [11] = exit_undefined, // GETSEC; the uapi header has no name for it
};
