// SPDX-License-Identifier: BSD-2-Clause
// Reads the instruction that exited from guest memory, and goes past it.
#include <asm/processor-flags.h>
#include "arch/x86/svm/vcpu.h"

bool svm_instruction_fetch(struct virt_vcpu *vcpu, struct svm_instruction *instruction) {
    uint8_t bytes[INSTRUCTION_MAX];
    struct guest_exception exception;
    struct virt_state state;
    virt_get_state(vcpu, &state);
    // The processor has executed it, so its rights are in order.
    unsigned count = vcpu->fetch(vcpu, &state, GUEST_NO_SET_AD | GUEST_NO_CHECK, bytes, &exception);
    return svm_instruction_parse(bytes, count, state.code_mode == CODE_64, state.code_32,
                                 instruction);
}

// The opcode's length is known by the exit's reason, prefixes must be counted. An instruction that
// cannot be read any more (another vCPU changed the page tables) is taken to have none.
static uint64_t find_next_rip(struct virt_vcpu *vcpu) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    struct svm_instruction instruction = {0};
    uint64_t code = vmcb->exit_code;
    unsigned opcode = code < SVM_EXIT_ROWS ? svm_exit_table[code].length : 0;
    bool read = svm_instruction_fetch(vcpu, &instruction);
    unsigned length = opcode ? opcode + (read ? instruction.prefixes : 0) : instruction.length;
    return vmcb->rip + length;
}

void svm_skip(struct virt_vcpu *vcpu) {
    struct svm_vcpu *v = svm_of(vcpu);
    struct vmcb *vmcb = v->vmcb;
    uint64_t next = v->next_rip ? v->next_rip : find_next_rip(vcpu);
    v->next_rip = 0;
    // Outside 64-bit code RIP wraps at 4 GiB.
    if (__builtin_expect((vmcb->rip ^ next) >> 32, 0) && !svm_code_64(vmcb))
        next &= UINT32_MAX;
    vmcb->rip = next;
    if (__builtin_expect(vmcb->interrupt_shadow & IN_INTERRUPT_SHADOW, 0)) {
        vmcb->interrupt_shadow &= ~IN_INTERRUPT_SHADOW;
        vcpu->recheck_events = true;
    }
    if (__builtin_expect(vmcb->rflags & X86_EFLAGS_TF, 0))
        vcpu->step_due = true;
}
