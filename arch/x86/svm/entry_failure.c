// SPDX-License-Identifier: BSD-2-Clause
// A VM entry the processor refused (VMEXIT_INVALID): it does not say why, so what decides is logged
// (APM vol. 2 15.5.1).
#include "arch/x86/svm/vcpu.h"

#define FIELD(name, member)                                                                        \
    { name, offsetof(struct vmcb, member) }

// Eight bytes each.
static const struct entry_field fields[] = {
    FIELD("CR0 in force", cr0),
    FIELD("CR4 in force", cr4),
    FIELD("DR6", dr6),
    FIELD("DR7", dr7),
    FIELD("PAT", pat),
    FIELD("ASID and TLB control", asid),
    FIELD("CR and DR intercepts", intercepts[0]),
    FIELD("exceptions and instructions", intercepts[2]),
    FIELD("more intercepts", intercepts[4]),
    FIELD("event", event),
    FIELD("interrupt control and vector", interrupt_control),
    FIELD("shadow", interrupt_shadow),
    FIELD("nested CR3", nested_cr3),
    FIELD("I/O map", io_map),
    FIELD("MSR map", msr_map),
};

static uint64_t read_field(struct virt_vcpu *vcpu, const struct entry_field *field) {
    return *(const uint64_t *)((const char *)svm_of(vcpu)->vmcb + field->where);
}

// What VMRUN checks and a VMM can get wrong, in words.
static const char *reason(const struct vmcb *vmcb) {
    uint16_t code = vmcb->segment[SEG_CS].attributes;
    bool long_mode = (vmcb->efer & EFER_LME) && (vmcb->cr0 & CR0_PG);
    if (long_mode && (code & VMCB_ATTRIBUTE_L) && (code & VMCB_ATTRIBUTE_DB))
        return "CS.L and CS.D are both set in long mode";
    if (long_mode && !(vmcb->cr4 & CR4_PAE))
        return "long mode without CR4.PAE";
    if (long_mode && !(vmcb->cr0 & CR0_PE))
        return "long mode without CR0.PE";
    if (vmcb->dr6 >> 32 || vmcb->dr7 >> 32)
        return "DR6 or DR7 beyond 32 bits";
    return "invalid guest state";
}

void svm_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    vcpu_entry_failed(vcpu, exit, vmcb->exit_code, reason(vmcb), fields,
                      sizeof(fields) / sizeof(fields[0]), read_field);
}
