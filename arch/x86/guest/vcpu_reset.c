// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's beginning and end, and its registers after power-on and INIT (SDM vol. 3 table 10-1).
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include "arch/x86/guest/vcpu_exit.h"
#include "core/mm/heap.h"
#include "core/string.h"

#define PAT_RESET 0x0007040600070406ull
#define RESET_RIP 0xfff0ull

static void reset_sregs(struct virt_vcpu *vcpu, uint64_t cr0) {
    const struct kvm_segment data = {.limit = 0xffff, .type = 3, .s = 1, .present = 1};
    struct kvm_sregs sregs = {.ds = data, .es = data, .fs = data, .gs = data, .ss = data};
    sregs.cs = data;
    sregs.cs.type = 11;
    sregs.cs.selector = 0xf000;
    sregs.cs.base = 0xffff0000;
    sregs.tr = (struct kvm_segment){.limit = 0xffff, .type = 11, .present = 1};
    sregs.ldt = (struct kvm_segment){.limit = 0xffff, .type = 2, .present = 1};
    sregs.gdt.limit = sregs.idt.limit = 0xffff;
    sregs.cr0 = cr0;
    vcpu_load_sregs(vcpu, &sregs);
}

static void reset_general(struct virt_vcpu *vcpu) {
    const struct kvm_cpuid_entry2 *version =
        vcpu->cpuid.count ? guest_cpuid_find(&vcpu->cpuid, 1, 0) : NULL;
    memset(vcpu->gpr, 0, sizeof(vcpu->gpr));
    vcpu->gpr[GPR_RDX] = version ? version->eax : 0x600; // the processor's signature
    memset(vcpu->debug, 0, sizeof(vcpu->debug));
    vcpu->dr6 = DR6_FIXED;
    vcpu->dr7 = DR7_FIXED;
    virt->set(vcpu, BACKEND_RSP, 0);
    virt->set(vcpu, BACKEND_RIP, RESET_RIP);
    virt_set_rflags(vcpu, X86_EFLAGS_FIXED);
}

static void reset_events(struct virt_vcpu *vcpu) {
    struct virt_events *events = &vcpu->events;
    vcpu_event_delivered(events);
    events->exception_pending = events->triple_fault = false;
    events->user_interrupt = -1;
    atomic_store(&events->nmi_pending, 0);
    virt->set_interrupt_shadow(vcpu, 0);
    virt->set_nmi_masked(vcpu, false);
    vcpu->step_due = false;
}

static void reset_power_on(struct virt_vcpu *vcpu) {
    for (enum backend_register i = BACKEND_SYSENTER_CS; i < BACKEND_HARDWARE; i++)
        virt->set(vcpu, i, i == BACKEND_PAT ? PAT_RESET : 0);
    vcpu->spec_ctrl = 0;
    vcpu->load_spec_ctrl = false;
    vcpu->xcr0 = vcpu->guest_fpu.xcr0 = 1;
    vcpu->guest_fpu.xss = 0;
}

void virt_reset(struct virt_vcpu *vcpu, bool init) {
    const uint64_t cache_bits = X86_CR0_CD | X86_CR0_NW; // INIT keeps them
    uint64_t kept = init ? virt->get(vcpu, BACKEND_CR0) & cache_bits : cache_bits;
    if (!init)
        reset_power_on(vcpu);
    reset_sregs(vcpu, X86_CR0_ET | kept);
    reset_general(vcpu);
    reset_events(vcpu);
    if (!vcpu->irqchip)
        vcpu->cr8 = 0;
    virt->vcpu_reset(vcpu);
    virt->debug_changed(vcpu);
    if (vcpu->cpuid.count)
        virt_cpuid_update(vcpu);
}

int virt_vcpu_create(struct virt_vcpu *vcpu) {
    vcpu->backend = heap_alloc(virt->vcpu_size);
    if (!vcpu->backend)
        return -ENOMEM;
    int error = virt->vcpu_create(vcpu);
    if (error) {
        heap_free(vcpu->backend);
        return error;
    }
    virt_tsc_changed(vcpu);
    virt_reset(vcpu, false);
    return 0;
}

void virt_vcpu_destroy(struct virt_vcpu *vcpu) {
    virt->vcpu_destroy(vcpu);
    heap_free(vcpu->backend);
}
