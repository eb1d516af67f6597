// SPDX-License-Identifier: BSD-2-Clause
// What exiting instructions and windows do on both vendors' processors.
#include "arch/x86/guest/vcpu_exit.h"

// A basic leaf with one entry whatever ECX says: nearly all. NULL: the general look-up decides.
static const struct kvm_cpuid_entry2 *plain_leaf(const struct guest_cpuid *cpuid, uint32_t leaf) {
    if (leaf >= CPUID_DIRECT_LEAVES)
        return NULL;
    struct cpuid_leaf place = cpuid->basic[leaf];
    const struct kvm_cpuid_entry2 *entry = &cpuid->entries[place.first];
    bool plain = place.end == place.first + 1u && !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    return plain ? entry : NULL;
}

static void set_cpuid_registers(struct virt_vcpu *vcpu, uint32_t eax, uint32_t ebx, uint32_t ecx,
                                uint32_t edx) {
    vcpu->gpr[GPR_RAX] = eax;
    vcpu->gpr[GPR_RBX] = ebx;
    vcpu->gpr[GPR_RCX] = ecx;
    vcpu->gpr[GPR_RDX] = edx;
}

// Out of line: what it needs of registers would be saved on the short way too.
static __attribute__((noinline)) enum exit_action other_leaf(struct virt_vcpu *vcpu) {
    struct cpuid_regs regs;
    guest_cpuid_query(&vcpu->cpuid, (uint32_t)vcpu->gpr[GPR_RAX], (uint32_t)vcpu->gpr[GPR_RCX],
                      &regs);
    set_cpuid_registers(vcpu, regs.eax, regs.ebx, regs.ecx, regs.edx);
    return EXIT_SKIP;
}

HANDLER(exit_cpuid) {
    vcpu->statistics.cpuid_exits++;
    // CPUID faulting (MSR_MISC_FEATURES_ENABLES bit 0): #GP(0) at CPL > 0.
    if (__builtin_expect(vcpu->msrs.misc_features & 1, 0) && virt->get(vcpu, BACKEND_CPL))
        return exit_protection(vcpu, exit);
    const struct kvm_cpuid_entry2 *entry = plain_leaf(&vcpu->cpuid, (uint32_t)vcpu->gpr[GPR_RAX]);
    if (__builtin_expect(!entry, 0))
        return other_leaf(vcpu);
    set_cpuid_registers(vcpu, entry->eax, entry->ebx, entry->ecx, entry->edx);
    return EXIT_SKIP;
}

// EDX:EAX, as WRMSR and XSETBV take it.
static uint64_t edx_eax(const struct virt_vcpu *vcpu) {
    return vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
}

static enum exit_action msr_done(struct virt_exit *exit, uint32_t index, bool write, int result,
                                 uint64_t value) {
    if (__builtin_expect(!result, 1))
        return EXIT_SKIP;
    exit->kind = VIRT_EXIT_MSR;
    exit->msr.index = index;
    exit->msr.write = write;
    exit->msr.result = result;
    exit->msr.value = value;
    return EXIT_LEAVE;
}

HANDLER(exit_msr_read) {
    uint32_t index = (uint32_t)vcpu->gpr[GPR_RCX];
    uint64_t value = 0;
    vcpu->statistics.msr_exits++;
    int result = guest_msr_read(&vcpu->msrs, index, &value, false);
    if (__builtin_expect(!result, 1)) {
        vcpu->gpr[GPR_RAX] = (uint32_t)value;
        vcpu->gpr[GPR_RDX] = value >> 32;
    }
    return msr_done(exit, index, false, result, 0);
}

HANDLER(exit_msr_write) {
    uint32_t index = (uint32_t)vcpu->gpr[GPR_RCX];
    uint64_t value = edx_eax(vcpu);
    vcpu->statistics.msr_exits++;
    if (index >> 8 == 8) // x2APIC: EOI, TPR and self-IPI change what can be injected
        vcpu->recheck_events = true;
    int result = guest_msr_write(&vcpu->msrs, index, value, false);
    return msr_done(exit, index, true, result, value);
}

HANDLER(exit_halt) {
    exit->kind = VIRT_EXIT_HALT;
    return EXIT_SKIP_LEAVE;
}

HANDLER(exit_shutdown) {
    exit->kind = VIRT_EXIT_SHUTDOWN;
    return EXIT_LEAVE;
}

HANDLER(exit_hypercall) {
    exit->kind = VIRT_EXIT_HYPERCALL;
    return EXIT_SKIP_LEAVE;
}

HANDLER(exit_pause) {
    exit->kind = VIRT_EXIT_PAUSE;
    return EXIT_SKIP_LEAVE;
}

HANDLER(exit_interrupt_window) {
    vcpu->statistics.irq_window_exits++;
    vcpu->recheck_events = true;
    if (!vcpu->interrupt_window_requested || vcpu->events.user_interrupt >= 0)
        return EXIT_RESUME;
    exit->kind = VIRT_EXIT_INTERRUPT_WINDOW;
    return EXIT_LEAVE;
}

HANDLER(exit_recheck) {
    vcpu->recheck_events = true;
    return EXIT_RESUME;
}

HANDLER(exit_xsetbv) {
    uint64_t value = edx_eax(vcpu);
    if (virt->get(vcpu, BACKEND_CPL) || (uint32_t)vcpu->gpr[GPR_RCX] != 0 ||
        virt_set_xcr0(vcpu, value))
        return exit_protection(vcpu, exit);
    write_xcr0(value); // the guest's vector registers are loaded during a run
    return EXIT_SKIP;
}

// INVD and WBINVD: caches are coherent, no device bypasses them.
HANDLER(exit_nothing) {
    return EXIT_SKIP;
}

// They do nothing, whatever CPUID says, unless user space has turned that quirk off.
HANDLER(exit_mwait) {
    uint64_t disabled = atomic_load_explicit(&vcpu->vm->disabled_quirks, memory_order_relaxed);
    if (!(disabled & KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS) ||
        guest_cpuid_has(&vcpu->cpuid, CPUID_MWAIT))
        return EXIT_SKIP;
    return exit_undefined(vcpu, exit);
}

HANDLER(exit_protection) {
    virt_raise_error(vcpu, GUEST_GP, 0);
    return EXIT_RESUME;
}

HANDLER(exit_undefined) {
    virt_raise_vector(vcpu, GUEST_UD);
    return EXIT_RESUME;
}

HANDLER(exit_invalid_opcode) {
    exit->kind = VIRT_EXIT_UNDEFINED;
    return EXIT_LEAVE;
}

HANDLER(exit_ignored) {
    return EXIT_RESUME;
}

enum exit_action exit_internal_error(struct virt_exit *exit, uint32_t suberror, uint64_t first,
                                     uint64_t second) {
    exit->kind = VIRT_EXIT_INTERNAL_ERROR;
    exit->error.suberror = suberror;
    exit->error.count = 2;
    exit->error.data[0] = first;
    exit->error.data[1] = second;
    return EXIT_LEAVE;
}
