// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's registers after power-on and INIT.
#include "arch/x86/guest/vcpu_reset.h"
#include <asm/processor-flags.h>
#include "arch/x86/guest/decoder.h"
#include "arch/x86/guest/vcpu_debug.h"
#include "arch/x86/guest/vcpu_event.h"
#include "core/string.h"

static const uint16_t places[VCPU_SEGMENTS] = {
    [SEG_ES] = offsetof(struct kvm_sregs, es),
    [SEG_CS] = offsetof(struct kvm_sregs, cs),
    [SEG_SS] = offsetof(struct kvm_sregs, ss),
    [SEG_DS] = offsetof(struct kvm_sregs, ds),
    [SEG_FS] = offsetof(struct kvm_sregs, fs),
    [SEG_GS] = offsetof(struct kvm_sregs, gs),
    [VCPU_SEGMENT_TR] = offsetof(struct kvm_sregs, tr),
    [VCPU_SEGMENT_LDTR] = offsetof(struct kvm_sregs, ldt),
};

struct kvm_segment *vcpu_sregs_segment(struct kvm_sregs *sregs, unsigned segment_register) {
    return (struct kvm_segment *)((char *)sregs + places[segment_register]);
}

static void reset_sregs(struct kvm_sregs *sregs) {
    const struct kvm_segment data = {.limit = 0xffff, .type = 3, .s = 1, .present = 1};
    memset(sregs, 0, sizeof(*sregs));
    for (unsigned i = 0; i < VCPU_SEGMENT_TR; i++)
        *vcpu_sregs_segment(sregs, i) = data;
    sregs->cs.type = 11;
    sregs->cs.selector = 0xf000;
    sregs->cs.base = 0xffff0000;
    sregs->tr = (struct kvm_segment){.limit = 0xffff, .type = 11, .present = 1};
    sregs->ldt = (struct kvm_segment){.limit = 0xffff, .type = 2, .present = 1};
    sregs->gdt.limit = sregs->idt.limit = 0xffff;
}

void vcpu_reset_registers(struct virt_vcpu *vcpu, bool init, uint64_t cr0,
                          struct kvm_sregs *sregs) {
    const uint64_t cache_bits = X86_CR0_CD | X86_CR0_NW;
    const struct kvm_cpuid_entry2 *version =
        vcpu->cpuid.count ? guest_cpuid_find(&vcpu->cpuid, 1, 0) : NULL;
    struct virt_events *events = &vcpu->events;

    reset_sregs(sregs);
    sregs->cr0 = X86_CR0_ET | (init ? cr0 & cache_bits : cache_bits);
    if (!init) {
        vcpu->xcr0 = vcpu->guest_fpu.xcr0 = 1;
        vcpu->guest_fpu.xss = 0;
    }
    memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
    vcpu->gpr[2] = version ? version->eax : 0x600; // RDX: the processor's signature
    vcpu->cr2 = 0;
    memset(vcpu->debug, 0, sizeof(vcpu->debug));
    vcpu->dr6 = DR6_FIXED;
    vcpu->dr7 = DR7_FIXED;
    vcpu_event_delivered(events);
    events->exception_pending = events->triple_fault = false;
    events->user_interrupt = -1;
    atomic_store(&events->nmi_pending, 0);
    if (!vcpu->irqchip)
        vcpu->cr8 = 0;
}
