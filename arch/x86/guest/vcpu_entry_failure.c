// SPDX-License-Identifier: BSD-2-Clause
// The log of a VM entry that the processor refused.
#include "arch/x86/guest/vcpu_exit.h"
#include "core/log.h"

#define QUIET_NS 5000000000ull // after one report

static void log_segment(const char *name, const struct kvm_segment *segment) {
    log_line("  %-4s selector %04x base %016llx limit %08x attributes %03x%s", name,
             segment->selector, segment->base, segment->limit, vcpu_segment_attributes(segment),
             segment->unusable ? " unusable" : "");
}

static void log_registers(struct virt_vcpu *vcpu) {
    static const char names[VCPU_SEGMENTS][5] = {"ES", "CS", "SS", "DS", "FS", "GS", "TR", "LDTR"};
    struct kvm_sregs s;
    virt_get_sregs(vcpu, &s);
    log_line("  RIP %lx  RSP %lx  RFLAGS %lx  CPL %lx", virt->get(vcpu, BACKEND_RIP),
             virt->get(vcpu, BACKEND_RSP), virt->get(vcpu, BACKEND_RFLAGS),
             virt->get(vcpu, BACKEND_CPL));
    log_line("  CR0 %llx  CR3 %llx  CR4 %llx  EFER %llx", s.cr0, s.cr3, s.cr4, s.efer);
    log_line("  GDT %llx limit %x  IDT %llx limit %x", s.gdt.base, s.gdt.limit, s.idt.base,
             s.idt.limit);
    for (unsigned i = 0; i < VCPU_SEGMENTS; i++)
        log_segment(names[i], vcpu_sregs_segment(&s, i));
}

// A serial line takes a fifth of a second for all this, and a program can have it said in a loop.
static bool may_say(void) {
    static _Atomic uint64_t next;
    uint64_t now = time_now(), due = atomic_load(&next);
    return now >= due && atomic_compare_exchange_strong(&next, &due, now + QUIET_NS);
}

void vcpu_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t code,
                       const char *reason, const struct entry_field *fields, size_t count,
                       uint64_t (*read)(struct virt_vcpu *vcpu, const struct entry_field *field)) {
    exit->kind = VIRT_EXIT_FAIL_ENTRY;
    exit->fail_reason = code;
    if (!may_say())
        return;
    log_line("%s: entry of vCPU %u failed: %s (%lu)", virt->name, vcpu->id, reason, code & 0xffff);
    log_registers(vcpu);
    for (size_t i = 0; i < count; i++)
        log_line("  %s %lx", fields[i].name, read(vcpu, &fields[i]));
}
