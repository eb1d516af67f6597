// SPDX-License-Identifier: BSD-2-Clause
// Reads the instruction that exited from guest memory, and goes past it.
#include <asm/processor-flags.h>
#include "arch/x86/svm/vcpu.h"
#include "core/mm/page.h"

static bool read_physical(void *context, uint64_t gpa, void *data, uint32_t size) {
    struct virt_vcpu *vcpu = context;
    return vcpu->read_physical && vcpu->read_physical(vcpu, gpa, data, size);
}

static unsigned fetch_bytes(struct virt_vcpu *vcpu, uint8_t *bytes) {
    const struct guest_walk_ops ops = {.read = read_physical};
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    uint64_t linear = vmcb->rip;
    if (!svm_code_64(vmcb))
        linear = (uint32_t)(linear + vmcb->segment[SEG_CS].base);
    struct guest_paging paging;
    virt_get_paging(vcpu, &paging);
    unsigned done = 0;
    while (done < SVM_INSTRUCTION_MAX) {
        struct guest_translation translation;
        struct guest_exception exception;
        uint64_t left = PAGE_SIZE - ((linear + done) & ~PAGE_MASK);
        unsigned piece = SVM_INSTRUCTION_MAX - done;
        if (left < piece)
            piece = (unsigned)left;
        // The processor has executed it, so its rights are in order.
        unsigned access = GUEST_FETCH | GUEST_NO_SET_AD | GUEST_NO_CHECK;
        if (guest_walk(&paging, &ops, vcpu, linear + done, access, &translation, &exception) ||
            !read_physical(vcpu, translation.gpa, bytes + done, piece))
            break;
        done += piece;
    }
    return done;
}

bool svm_instruction_fetch(struct virt_vcpu *vcpu, struct svm_instruction *instruction) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    uint8_t bytes[SVM_INSTRUCTION_MAX];
    unsigned count = fetch_bytes(vcpu, bytes);
    return svm_instruction_parse(bytes, count, svm_code_64(vmcb),
                                 vmcb->segment[SEG_CS].attributes & VMCB_ATTRIBUTE_DB, instruction);
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
    // The instruction is complete, so a single step is due.
    if (__builtin_expect(vmcb->rflags & X86_EFLAGS_TF, 0))
        vcpu->step_due = true;
}
