// SPDX-License-Identifier: BSD-2-Clause
// The log of a VM entry that the processor refused.
#include "arch/x86/guest/vcpu_entry_failure.h"
#include "arch/x86/guest/vcpu_registers.h"
#include "core/log.h"

static void log_segment(const char *name, const struct kvm_segment *segment) {
    log_line("  %-4s selector %04x base %016llx limit %08x attributes %03x%s", name,
             segment->selector, segment->base, segment->limit, vcpu_segment_attributes(segment),
             segment->unusable ? " unusable" : "");
}

static void log_registers(struct virt_vcpu *vcpu) {
    struct kvm_sregs s;
    virt_get_sregs(vcpu, &s);
    log_line("  RIP %lx  RSP %lx  RFLAGS %lx  CPL %lx", virt->get(vcpu, BACKEND_RIP),
             virt->get(vcpu, BACKEND_RSP), virt->get(vcpu, BACKEND_RFLAGS),
             virt->get(vcpu, BACKEND_CPL));
    log_line("  CR0 %llx  CR3 %llx  CR4 %llx  EFER %llx", s.cr0, s.cr3, s.cr4, s.efer);
    log_line("  GDT %llx limit %x  IDT %llx limit %x", s.gdt.base, s.gdt.limit, s.idt.base,
             s.idt.limit);
    log_segment("ES", &s.es);
    log_segment("CS", &s.cs);
    log_segment("SS", &s.ss);
    log_segment("DS", &s.ds);
    log_segment("FS", &s.fs);
    log_segment("GS", &s.gs);
    log_segment("TR", &s.tr);
    log_segment("LDTR", &s.ldt);
}

void vcpu_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t code,
                       const char *reason, const struct entry_field *fields, size_t count,
                       uint64_t (*read)(struct virt_vcpu *vcpu, const struct entry_field *field)) {
    log_line("%s: entry of vCPU %u failed: %s (%lu)", virt->name, vcpu->id, reason, code & 0xffff);
    log_registers(vcpu);
    for (size_t i = 0; i < count; i++)
        log_line("  %s %lx", fields[i].name, read(vcpu, &fields[i]));
    exit->kind = VIRT_EXIT_FAIL_ENTRY;
    exit->fail_reason = code;
}
