// SPDX-License-Identifier: BSD-2-Clause
// Debug registers: MOV DR always exits, #DB too, so the guest's live in struct virt_vcpu; DR0-3 are
// loaded only while a breakpoint is enabled.
#include <asm/processor-flags.h>
#include <asm/svm.h>
#include "arch/x86/guest/vcpu_debug.h"
#include "arch/x86/svm/vcpu.h"
#include "core/mm/address_space.h"

void svm_debug_changed(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = svm_of(vcpu);
    v->vmcb->dr7 = vcpu_breakpoint_control(vcpu);
    v->vmcb->dr6 = DR6_FIXED;
    v->debug_registers = v->vmcb->dr7 & DR7_ENABLES;
    uint32_t exceptions = vcpu_debug_exceptions(vcpu);
    v->vmcb->intercepts[INTERCEPT_EXCEPTIONS] = exceptions;
    vmcb_intercept(v, SVM_EXIT_SWINT, exceptions & EXCEPTION_BIT(VECTOR_BP));
    vmcb_dirty(v->vmcb, CLEAN_DEBUG | CLEAN_INTERCEPTS);
    v->vmcb->rflags = vcpu_step_rflags(vcpu, v->vmcb->rflags);
}

static void write_dr7(uint64_t value) {
    __asm__ volatile("mov %0, %%dr7" ::"r"(value));
}

// VMRUN loads DR7 from the VMCB, but a processor may need a write of DR7 to find its breakpoints
// (QEMU TCG does). So the host's is written too, unless the host itself could meet one: it touches
// no user address before the guest does.
void svm_load_debug_registers(struct virt_vcpu *vcpu) {
    const uint64_t *values = vcpu_breakpoints(vcpu);
    uint64_t control = svm_of(vcpu)->vmcb->dr7;
    __asm__ volatile("mov %0, %%dr0" ::"r"(values[0]));
    __asm__ volatile("mov %0, %%dr1" ::"r"(values[1]));
    __asm__ volatile("mov %0, %%dr2" ::"r"(values[2]));
    __asm__ volatile("mov %0, %%dr3" ::"r"(values[3]));
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

static enum exit_action to_debugger(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                    uint32_t exception, uint64_t dr6) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    exit->kind = VIRT_EXIT_DEBUG;
    exit->debug.exception = exception;
    exit->debug.pc = vmcb->segment[SEG_CS].base + vmcb->rip;
    if (svm_code_64(vmcb))
        exit->debug.pc = vmcb->rip;
    exit->debug.dr6 = dr6;
    exit->debug.dr7 = vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP)
                          ? vcpu->guest_debug.arch.debugreg[7]
                          : vcpu->dr7;
    return EXIT_LEAVE;
}

static void raise_debug(struct virt_vcpu *vcpu, uint64_t hit) {
    virt_raise(vcpu, &(struct guest_exception){.vector = GUEST_DB, .cr2 = hit});
    svm_of(vcpu)->recheck_events = true;
}

bool svm_step_due(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    svm_of(vcpu)->step_due = false;
    if (vcpu_debug_is_ours(vcpu, DR6_BS)) {
        to_debugger(vcpu, exit, GUEST_DB, DR6_FIXED | DR6_BS);
        return true;
    }
    raise_debug(vcpu, DR6_BS);
    return false;
}

// Which register: from the decode assists, else from memory.
static bool find_gpr(struct virt_vcpu *vcpu, struct svm_vcpu *v, unsigned *gpr) {
    struct svm_instruction what;
    if (svm.decode_assists) {
        *gpr = v->vmcb->exit_info1 & 15;
        return true;
    }
    if (!svm_instruction_fetch(vcpu, &what))
        return false;
    *gpr = what.gpr;
    if (!v->next_rip)
        v->next_rip = v->vmcb->rip + what.length;
    return true;
}

static enum vcpu_debug_access move(struct virt_vcpu *vcpu, bool write, unsigned number,
                                   unsigned gpr) {
    uint64_t cr4 = svm_of(vcpu)->cr4, value;
    if (write) {
        enum vcpu_debug_access result =
            vcpu_debug_write(vcpu, number, cr4, svm_read_gpr(vcpu, gpr));
        if (result == DEBUG_ACCESS_DONE)
            svm_debug_changed(vcpu);
        return result;
    }
    enum vcpu_debug_access result = vcpu_debug_read(vcpu, number, cr4, &value);
    if (result == DEBUG_ACCESS_DONE)
        svm_write_gpr(vcpu, gpr, value);
    return result;
}

enum exit_action svm_exit_debug_register(struct virt_vcpu *vcpu, struct svm_vcpu *v,
                                         struct virt_exit *exit) {
    uint64_t code = v->vmcb->exit_code;
    unsigned gpr;
    if (!find_gpr(vcpu, v, &gpr))
        return EXIT_RESUME; // gone from memory meanwhile: the processor tries again
    switch (move(vcpu, code >= SVM_EXIT_WRITE_DR0, code & 15, gpr)) {
    case DEBUG_ACCESS_UNDEFINED:
        svm_raise(vcpu, GUEST_UD);
        return EXIT_RESUME;
    case DEBUG_ACCESS_PROTECTION:
        svm_raise_error(vcpu, GUEST_GP, 0);
        return EXIT_RESUME;
    case DEBUG_ACCESS_DETECTED:
        if (vcpu_debugging(vcpu, KVM_GUESTDBG_USE_HW_BP))
            return to_debugger(vcpu, exit, GUEST_DB, DR6_FIXED | DR6_BD);
        raise_debug(vcpu, DR6_BD);
        return EXIT_RESUME;
    default:
        svm_skip(vcpu);
        return EXIT_RESUME;
    }
}

enum exit_action svm_exit_debug_exception(struct virt_vcpu *vcpu, struct svm_vcpu *v,
                                          struct virt_exit *exit) {
    uint64_t hit = (v->vmcb->dr6 ^ DR6_FIXED) & DR6_VOLATILE;
    v->vmcb->dr6 = DR6_FIXED;
    vmcb_dirty(v->vmcb, CLEAN_DEBUG);
    if (vcpu_debug_is_ours(vcpu, hit))
        return to_debugger(vcpu, exit, GUEST_DB, hit | DR6_FIXED);
    if (v->stepped && !v->step_guest_tf)
        hit &= ~DR6_BS; // that step was ours
    if (v->stepped && !hit)
        return EXIT_RESUME;
    raise_debug(vcpu, hit);
    return EXIT_RESUME;
}

enum exit_action svm_exit_breakpoint(struct virt_vcpu *vcpu, struct svm_vcpu *v,
                                     struct virt_exit *exit) {
    (void)v;
    return to_debugger(vcpu, exit, VECTOR_BP, vcpu->dr6);
}

// INT3 is an exception's exit, except on processors (QEMU TCG) to which it is an INT n.
enum exit_action svm_exit_software_interrupt(struct virt_vcpu *vcpu, struct svm_vcpu *v,
                                             struct virt_exit *exit) {
    struct svm_instruction what;
    if (!svm_instruction_fetch(vcpu, &what))
        return EXIT_RESUME; // gone from memory meanwhile: the processor tries again
    if (what.operation == SVM_INT3)
        return svm_exit_breakpoint(vcpu, v, exit);
    vcpu->events.interrupt_injected = vcpu->events.interrupt_soft = true;
    vcpu->events.interrupt_vector = what.vector;
    vcpu->events.soft_length = what.length;
    v->recheck_events = true;
    return EXIT_RESUME;
}
