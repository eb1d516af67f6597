// SPDX-License-Identifier: BSD-2-Clause
// VM exits by reason (SDM vol. 3 appendix C): one row each.
#include <asm/processor-flags.h>
#include <asm/vmx.h>
#include "arch/x86/guest/vcpu_instruction.h"
#include "arch/x86/irq.h"
#include "arch/x86/vmx/vcpu.h"
#include "core/log.h"

enum { RAX, RCX, RDX, RBX };

#define HANDLER(name)                                                                              \
    static enum exit_action name(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct virt_exit *exit)
#define UNUSED(...) (void)sizeof((const void *[]){__VA_ARGS__})

// A basic leaf with one entry whatever ECX says: nearly all. NULL: the general look-up decides.
static const struct kvm_cpuid_entry2 *plain_leaf(const struct guest_cpuid *cpuid, uint32_t leaf) {
    if (leaf >= CPUID_DIRECT_LEAVES)
        return NULL;
    struct cpuid_leaf place = cpuid->basic[leaf];
    const struct kvm_cpuid_entry2 *entry = &cpuid->entries[place.first];
    bool plain = place.end == place.first + 1u && !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    return plain ? entry : NULL;
}

static void set_cpuid_registers(struct virt_vcpu *vcpu, uint32_t eax, uint32_t ebx, uint32_t ecx,
                                uint32_t edx) {
    vcpu->gpr[RAX] = eax;
    vcpu->gpr[RBX] = ebx;
    vcpu->gpr[RCX] = ecx;
    vcpu->gpr[RDX] = edx;
}

HANDLER(exit_cpuid) {
    vcpu->statistics.cpuid_exits++;
    // CPUID faulting (MSR_MISC_FEATURES_ENABLES bit 0).
    if (__builtin_expect(vcpu->msrs.misc_features & 1, 0) && vmx_get_cpl(vcpu)) {
        vmx_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    uint32_t leaf = (uint32_t)vcpu->gpr[RAX];
    const struct kvm_cpuid_entry2 *entry = plain_leaf(&vcpu->cpuid, leaf);
    if (__builtin_expect(entry != NULL, 1)) {
        set_cpuid_registers(vcpu, entry->eax, entry->ebx, entry->ecx, entry->edx);
    } else {
        struct cpuid_regs regs;
        guest_cpuid_query(&vcpu->cpuid, leaf, (uint32_t)vcpu->gpr[RCX], &regs);
        set_cpuid_registers(vcpu, regs.eax, regs.ebx, regs.ecx, regs.edx);
    }
    vmx_skip();
    UNUSED(v, exit);
    return EXIT_RESUME;
}

// -- MSRs --

static enum exit_action msr_refused(struct virt_exit *exit, uint32_t index, bool write, int result,
                                    uint64_t value) {
    exit->kind = VIRT_EXIT_MSR;
    exit->msr.index = index;
    exit->msr.write = write;
    exit->msr.result = result;
    exit->msr.value = value;
    return EXIT_LEAVE;
}

HANDLER(exit_msr_read) {
    uint32_t index = (uint32_t)vcpu->gpr[RCX];
    uint64_t value = 0;
    vcpu->statistics.msr_exits++;
    int result = guest_msr_read(&vcpu->msrs, index, &value, false);
    if (__builtin_expect(result, 0))
        return msr_refused(exit, index, false, result, 0);
    vcpu->gpr[RAX] = (uint32_t)value;
    vcpu->gpr[RDX] = value >> 32;
    vmx_skip();
    UNUSED(v);
    return EXIT_RESUME;
}

HANDLER(exit_msr_write) {
    uint32_t index = (uint32_t)vcpu->gpr[RCX];
    uint64_t value = vcpu->gpr[RDX] << 32 | (uint32_t)vcpu->gpr[RAX];
    vcpu->statistics.msr_exits++;
    if (index >> 8 == 8) // x2APIC: EOI, TPR and self-IPI change what can be injected
        v->recheck_events = true;
    int result = guest_msr_write(&vcpu->msrs, index, value, false);
    if (__builtin_expect(result, 0))
        return msr_refused(exit, index, true, result, value);
    vmx_skip();
    return EXIT_RESUME;
}

// -- to core --

HANDLER(exit_port) {
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-5
    UNUSED(v, vcpu);
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
    if (unblocked && !(vmread(VMCS_IDT_VECTORING) & INTERRUPTION_VALID))
        vmwrite(VMCS_GUEST_INTERRUPTIBILITY, vmread(VMCS_GUEST_INTERRUPTIBILITY) | BLOCKING_NMI);
}

// The instruction will run again, so no single step is due yet. A processor leaves none pending
// (SDM vol. 3 28.3.4); Bochs 2.7 has noted it at the instruction's start.
static void drop_pending_step(void) {
    if (__builtin_expect(vmread(VMCS_GUEST_PENDING_DEBUG) & PENDING_DEBUG_BS, 0) &&
        !(vmread(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKING_MOV_SS))
        vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
}

HANDLER(exit_ept_violation) {
    uint64_t qualification = vmread(VMCS_EXIT_QUALIFICATION); // SDM vol. 3 table 28-7
    vmx_events_exit(vcpu, v);
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
HANDLER(exit_write_log_full) {
    UNUSED(exit);
    vmx_events_exit(vcpu, v);
    restore_nmi_blocking(vmread(VMCS_EXIT_QUALIFICATION) & 1 << 12);
    drop_pending_step();
    return EXIT_RESUME;
}

static enum exit_action internal_error(struct virt_exit *exit, uint32_t suberror, uint64_t first,
                                       uint64_t second) {
    exit->kind = VIRT_EXIT_INTERNAL_ERROR;
    exit->error.suberror = suberror;
    exit->error.count = 2;
    exit->error.data[0] = first;
    exit->error.data[1] = second;
    return EXIT_LEAVE;
}

HANDLER(exit_ept_misconfiguration) {
    uint64_t gpa = vmread(VMCS_GUEST_PHYSICAL_ADDRESS);
    vmx_events_exit(vcpu, v);
    log_line("VT-x: EPT misconfiguration at guest-physical %lx", gpa);
    return internal_error(exit, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON,
                          EXIT_REASON_EPT_MISCONFIG, gpa);
}

// Hardware task switches exist only in 32-bit code; nothing emulates them.
HANDLER(exit_task_switch) {
    vmx_events_exit(vcpu, v);
    return internal_error(exit, KVM_INTERNAL_ERROR_EMULATION, EXIT_REASON_TASK_SWITCH,
                          vmread(VMCS_EXIT_QUALIFICATION));
}

HANDLER(exit_halt) {
    UNUSED(v, vcpu);
    vmx_skip();
    exit->kind = VIRT_EXIT_HALT;
    return EXIT_LEAVE;
}

HANDLER(exit_triple_fault) {
    UNUSED(v, vcpu);
    exit->kind = VIRT_EXIT_SHUTDOWN;
    return EXIT_LEAVE;
}

HANDLER(exit_hypercall) {
    UNUSED(v, vcpu);
    vmx_skip();
    exit->kind = VIRT_EXIT_HYPERCALL;
    return EXIT_LEAVE;
}

HANDLER(exit_pause) {
    UNUSED(v, vcpu);
    vmx_skip();
    exit->kind = VIRT_EXIT_PAUSE;
    return EXIT_LEAVE;
}

// -- the vCPU's own --

HANDLER(exit_external_interrupt) {
    UNUSED(v, exit);
    vcpu->statistics.irq_exits++;
    irq_dispatch(vmread(VMCS_EXIT_INTERRUPTION) & INTERRUPTION_VECTOR);
    return EXIT_RESUME;
}

// A host interrupt ends the guest by itself; this is the net below it. Bochs 2.7 holds interrupts
// back from a guest that is entered with IF clear, whatever "external-interrupt exiting" says.
HANDLER(exit_preemption_timer) {
    UNUSED(vcpu, v, exit);
    __asm__ volatile("sti; nop; cli" ::: "memory");
    return EXIT_RESUME;
}

HANDLER(exit_interrupt_window) {
    vcpu->statistics.irq_window_exits++;
    vmcs_set_cpu_controls(v, 0, CPU_INTERRUPT_WINDOW);
    v->recheck_events = true;
    if (!vcpu->interrupt_window_requested || vcpu->events.user_interrupt >= 0)
        return EXIT_RESUME;
    exit->kind = VIRT_EXIT_INTERRUPT_WINDOW;
    return EXIT_LEAVE;
}

HANDLER(exit_nmi_window) {
    UNUSED(vcpu, exit);
    vmcs_set_cpu_controls(v, 0, CPU_NMI_WINDOW);
    v->recheck_events = true;
    return EXIT_RESUME;
}

HANDLER(exit_tpr_below_threshold) {
    UNUSED(vcpu, exit);
    v->recheck_events = true;
    return EXIT_RESUME;
}

HANDLER(exit_xsetbv) {
    uint64_t value = vcpu->gpr[RDX] << 32 | (uint32_t)vcpu->gpr[RAX];
    UNUSED(v, exit);
    if (vmx_get_cpl(vcpu) || (uint32_t)vcpu->gpr[RCX] != 0 || virt_set_xcr0(vcpu, value)) {
        vmx_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    }
    write_xcr0(value); // the guest's vector registers are loaded during a run
    vmx_skip();
    return EXIT_RESUME;
}

// INVD and WBINVD: caches are coherent, no device bypasses them.
HANDLER(exit_skip) {
    UNUSED(vcpu, v, exit);
    vmx_skip();
    return EXIT_RESUME;
}

HANDLER(exit_mwait) {
    UNUSED(v, exit);
    if (vcpu_mwait_undefined(vcpu))
        vmx_raise(vcpu, GUEST_UD);
    else
        vmx_skip();
    return EXIT_RESUME;
}

// No performance counters are offered.
HANDLER(exit_rdpmc) {
    UNUSED(v, exit);
    vmx_raise_error(vcpu, GUEST_GP, 0);
    return EXIT_RESUME;
}

// VMX, SMX, SGX instructions of a guest that has none of them.
HANDLER(exit_undefined) {
    UNUSED(v, exit);
    vmx_raise(vcpu, GUEST_UD);
    return EXIT_RESUME;
}

const exit_handler exit_table[EXIT_ROWS] = {
    [EXIT_REASON_EXCEPTION_NMI] = exit_exception,
    [EXIT_REASON_EXTERNAL_INTERRUPT] = exit_external_interrupt,
    [EXIT_REASON_TRIPLE_FAULT] = exit_triple_fault,
    [EXIT_REASON_INTERRUPT_WINDOW] = exit_interrupt_window,
    [EXIT_REASON_NMI_WINDOW] = exit_nmi_window,
    [EXIT_REASON_TASK_SWITCH] = exit_task_switch,
    [EXIT_REASON_CPUID] = exit_cpuid,
    [EXIT_REASON_HLT] = exit_halt,
    [EXIT_REASON_INVD] = exit_skip,
    [EXIT_REASON_RDPMC] = exit_rdpmc,
    [EXIT_REASON_VMCALL] = exit_hypercall,
    [EXIT_REASON_VMCLEAR] = exit_undefined,
    [EXIT_REASON_VMLAUNCH] = exit_undefined,
    [EXIT_REASON_VMPTRLD] = exit_undefined,
    [EXIT_REASON_VMPTRST] = exit_undefined,
    [EXIT_REASON_VMREAD] = exit_undefined,
    [EXIT_REASON_VMRESUME] = exit_undefined,
    [EXIT_REASON_VMWRITE] = exit_undefined,
    [EXIT_REASON_VMOFF] = exit_undefined,
    [EXIT_REASON_VMON] = exit_undefined,
    [EXIT_REASON_CR_ACCESS] = exit_control_register,
    [EXIT_REASON_DR_ACCESS] = exit_debug_register,
    [EXIT_REASON_IO_INSTRUCTION] = exit_port,
    [EXIT_REASON_MSR_READ] = exit_msr_read,
    [EXIT_REASON_MSR_WRITE] = exit_msr_write,
    [EXIT_REASON_MWAIT_INSTRUCTION] = exit_mwait,
    [EXIT_REASON_MONITOR_INSTRUCTION] = exit_mwait,
    [EXIT_REASON_PAUSE_INSTRUCTION] = exit_pause,
    [EXIT_REASON_TPR_BELOW_THRESHOLD] = exit_tpr_below_threshold,
    [EXIT_REASON_EPT_VIOLATION] = exit_ept_violation,
    [EXIT_REASON_EPT_MISCONFIG] = exit_ept_misconfiguration,
    [EXIT_REASON_INVEPT] = exit_undefined,
    [EXIT_REASON_PREEMPTION_TIMER] = exit_preemption_timer,
    [EXIT_REASON_INVVPID] = exit_undefined,
    [EXIT_REASON_WBINVD] = exit_skip,
    [EXIT_REASON_XSETBV] = exit_xsetbv,
    [EXIT_REASON_VMFUNC] = exit_undefined,
    [EXIT_REASON_ENCLS] = exit_undefined,
    [EXIT_REASON_PML_FULL] = exit_write_log_full,
    [11] = exit_undefined, // GETSEC; the uapi header has no name for it
};
