// SPDX-License-Identifier: BSD-2-Clause
// A VM entry the processor refused (VMEXIT_INVALID): it does not say why, so every field that
// decides is logged (APM vol. 2 15.5.1).
#include "arch/x86/svm/vcpu.h"
#include "core/log.h"

struct named_field {
    const char *name;
    uint16_t offset;
    uint8_t size;
};

#define FIELD(name, member)                                                                        \
    { name, offsetof(struct vmcb, member), sizeof(((struct vmcb *)NULL)->member) }

static const struct named_field fields[] = {
    FIELD("RIP", rip),
    FIELD("RSP", rsp),
    FIELD("RFLAGS", rflags),
    FIELD("CPL", cpl),
    FIELD("CR0", cr0),
    FIELD("CR3", cr3),
    FIELD("CR4", cr4),
    FIELD("EFER", efer),
    FIELD("DR6", dr6),
    FIELD("DR7", dr7),
    FIELD("PAT", pat),
    FIELD("ASID", asid),
    FIELD("CR intercepts", intercepts[0]),
    FIELD("exceptions", intercepts[2]),
    FIELD("instructions", intercepts[3]),
    FIELD("and", intercepts[4]),
    FIELD("event", event),
    FIELD("interrupt control", interrupt_control),
    FIELD("shadow", interrupt_shadow),
    FIELD("nested CR3", nested_cr3),
    FIELD("I/O map", io_map),
    FIELD("MSR map", msr_map),
    FIELD("GDT base", gdtr.base),
    FIELD("IDT base", idtr.base),
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))
_Static_assert(FIELDS % 4 == 0, "whole lines");

static uint64_t value_of(const struct vmcb *vmcb, const struct named_field *field) {
    uint64_t value = 0;
    __builtin_memcpy(&value, (const char *)vmcb + field->offset, field->size);
    return value;
}

// What VMRUN checks and a VMM can get wrong, in words.
static const char *reason(const struct vmcb *vmcb) {
    uint16_t code = vmcb->segment[SEG_CS].attributes;
    bool long_mode = (vmcb->efer & EFER_LME) && (vmcb->cr0 & CR0_PG);
    if (long_mode && (code & ATTRIBUTE_L) && (code & 1 << 10))
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
    static const char names[6][3] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    const struct vmcb *vmcb = svm_of(vcpu)->vmcb;
    log_line("AMD-V: entry of vCPU %u failed: %s", vcpu->id, reason(vmcb));
    for (unsigned i = 0; i < FIELDS; i += 4)
        log_line("  %s %lx  %s %lx  %s %lx  %s %lx", fields[i].name, value_of(vmcb, &fields[i]),
                 fields[i + 1].name, value_of(vmcb, &fields[i + 1]), fields[i + 2].name,
                 value_of(vmcb, &fields[i + 2]), fields[i + 3].name,
                 value_of(vmcb, &fields[i + 3]));
    for (unsigned i = 0; i < 6; i++)
        log_line("  %s selector %04x base %016lx limit %08x attributes %03x", names[i],
                 vmcb->segment[i].selector, vmcb->segment[i].base, vmcb->segment[i].limit,
                 vmcb->segment[i].attributes);
    exit->kind = VIRT_EXIT_FAIL_ENTRY;
    exit->fail_reason = vmcb->exit_code;
}
