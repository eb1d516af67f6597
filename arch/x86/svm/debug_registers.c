// SPDX-License-Identifier: BSD-2-Clause
// Debug registers: MOV DR always exits, #DB too, so the guest's live in struct virt_vcpu; DR0-3 are
// loaded only while a breakpoint is enabled.
#include <asm/svm.h>
#include "arch/x86/svm/vcpu.h"
#include "core/mm/address_space.h"

void svm_debug_changed(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = svm_of(vcpu);
    uint32_t exceptions = vcpu_debug_exceptions(vcpu);
    v->vmcb->dr7 = vcpu_breakpoint_control(vcpu);
    v->vmcb->dr6 = DR6_FIXED;
    v->vmcb->intercepts[INTERCEPT_EXCEPTIONS] = exceptions;
    vmcb_intercept(v, SVM_EXIT_SWINT, exceptions & EXCEPTION_BIT(GUEST_BP));
    vmcb_dirty(v->vmcb, CLEAN_DEBUG | CLEAN_INTERCEPTS);
    vcpu_step(vcpu);
}

static void write_dr7(uint64_t value) {
    __asm__ volatile("mov %0, %%dr7" ::"r"(value));
}

// VMRUN loads DR7 from the VMCB, but a processor may need a write of DR7 to find its breakpoints
// (QEMU TCG does). So the host's is written too, unless the host itself could meet one: it touches
// no user address before the guest does.
void svm_load_breakpoints(struct virt_vcpu *vcpu) {
    const uint64_t *values = vcpu_load_breakpoints(vcpu);
    uint64_t control = svm_of(vcpu)->vmcb->dr7;
    for (unsigned i = 0; i < 4; i++)
        if ((control >> 2 * i & 3) && values[i] >= USER_END)
            return;
    write_dr7(control);
    svm_of(vcpu)->breakpoints = true;
}

void svm_disarm_breakpoints(struct svm_vcpu *v) {
    write_dr7(DR7_FIXED);
    v->breakpoints = false;
}

HANDLER(svm_exit_debug_register) {
    uint64_t code = svm_of(vcpu)->vmcb->exit_code;
    struct svm_instruction what;
    if (!svm_find_operand(vcpu, true, &what))
        return EXIT_RESUME; // gone from memory meanwhile: the processor tries again
    return vcpu_move_debug(vcpu, exit, code >= SVM_EXIT_WRITE_DR0, code & 15, what.gpr);
}

HANDLER(svm_exit_debug_exception) {
    struct svm_vcpu *v = svm_of(vcpu);
    uint64_t hit = (v->vmcb->dr6 ^ DR6_FIXED) & DR6_VOLATILE;
    v->vmcb->dr6 = DR6_FIXED;
    vmcb_dirty(v->vmcb, CLEAN_DEBUG);
    if (v->stepped && !v->step_guest_tf && !vcpu_debug_is_ours(vcpu, hit))
        hit &= ~DR6_BS; // that step was svm_step's
    return v->stepped && !hit ? EXIT_RESUME : vcpu_debug_exception(vcpu, exit, hit);
}

// INT3 is an exception's exit, except on processors (QEMU TCG) to which it is an INT n.
HANDLER(svm_exit_software_interrupt) {
    struct svm_instruction what;
    if (!svm_instruction_fetch(vcpu, &what))
        return EXIT_RESUME; // gone from memory meanwhile: the processor tries again
    if (what.operation == SVM_INT3)
        return exit_breakpoint(vcpu, exit);
    vcpu->events.interrupt_injected = vcpu->events.interrupt_soft = true;
    vcpu->events.interrupt_vector = what.vector;
    vcpu->events.soft_length = what.length;
    return exit_recheck(vcpu, exit);
}
