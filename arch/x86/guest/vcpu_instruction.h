// SPDX-License-Identifier: BSD-2-Clause
// What the exiting instructions CPUID, RDMSR and WRMSR do, shared by the back ends. The hot path of
// both: inline.
#pragma once
#include "arch/x86/virt.h"

enum { GPR_RAX, GPR_RCX, GPR_RDX, GPR_RBX };

// A basic leaf with one entry whatever ECX says: nearly all. NULL: the general look-up decides.
static inline const struct kvm_cpuid_entry2 *vcpu_plain_leaf(const struct guest_cpuid *cpuid,
                                                             uint32_t leaf) {
    if (leaf >= CPUID_DIRECT_LEAVES)
        return NULL;
    struct cpuid_leaf place = cpuid->basic[leaf];
    const struct kvm_cpuid_entry2 *entry = &cpuid->entries[place.first];
    bool plain = place.end == place.first + 1u && !(entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    return plain ? entry : NULL;
}

static inline void vcpu_set_cpuid_registers(struct virt_vcpu *vcpu, uint32_t eax, uint32_t ebx,
                                            uint32_t ecx, uint32_t edx) {
    vcpu->gpr[GPR_RAX] = eax;
    vcpu->gpr[GPR_RBX] = ebx;
    vcpu->gpr[GPR_RCX] = ecx;
    vcpu->gpr[GPR_RDX] = edx;
}

// CPUID faulting (MSR_MISC_FEATURES_ENABLES bit 0): #GP(0) at CPL > 0.
static inline bool vcpu_cpuid_faults(const struct virt_vcpu *vcpu) {
    return __builtin_expect(vcpu->msrs.misc_features & 1, 0);
}

static inline void vcpu_cpuid(struct virt_vcpu *vcpu) {
    uint32_t leaf = (uint32_t)vcpu->gpr[GPR_RAX];
    const struct kvm_cpuid_entry2 *entry = vcpu_plain_leaf(&vcpu->cpuid, leaf);
    if (__builtin_expect(entry != NULL, 1)) {
        vcpu_set_cpuid_registers(vcpu, entry->eax, entry->ebx, entry->ecx, entry->edx);
    } else {
        struct cpuid_regs regs;
        guest_cpuid_query(&vcpu->cpuid, leaf, (uint32_t)vcpu->gpr[GPR_RCX], &regs);
        vcpu_set_cpuid_registers(vcpu, regs.eax, regs.ebx, regs.ecx, regs.edx);
    }
}

// MONITOR and MWAIT do nothing, whatever CPUID says, unless user space has turned that quirk off.
static inline bool vcpu_mwait_undefined(const struct virt_vcpu *vcpu) {
    return (atomic_load_explicit(&vcpu->vm->disabled_quirks, memory_order_relaxed) &
            KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS) &&
           !guest_cpuid_has(&vcpu->cpuid, CPUID_MWAIT);
}

// EDX:EAX, as WRMSR and XSETBV take it.
static inline uint64_t vcpu_edx_eax(const struct virt_vcpu *vcpu) {
    return vcpu->gpr[GPR_RDX] << 32 | (uint32_t)vcpu->gpr[GPR_RAX];
}

static inline bool vcpu_msr_done(struct virt_exit *exit, uint32_t index, bool write, int result,
                                 uint64_t value) {
    if (__builtin_expect(!result, 1))
        return true;
    exit->kind = VIRT_EXIT_MSR;
    exit->msr.index = index;
    exit->msr.write = write;
    exit->msr.result = result;
    exit->msr.value = value;
    return false;
}

// True: done, to be skipped. False: *exit says what was refused.
static inline bool vcpu_rdmsr(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    uint32_t index = (uint32_t)vcpu->gpr[GPR_RCX];
    uint64_t value = 0;
    int result = guest_msr_read(&vcpu->msrs, index, &value, false);
    if (__builtin_expect(!result, 1)) {
        vcpu->gpr[GPR_RAX] = (uint32_t)value;
        vcpu->gpr[GPR_RDX] = value >> 32;
    }
    return vcpu_msr_done(exit, index, false, result, 0);
}

static inline bool vcpu_wrmsr(struct virt_vcpu *vcpu, struct virt_exit *exit) {
    uint32_t index = (uint32_t)vcpu->gpr[GPR_RCX];
    uint64_t value = vcpu_edx_eax(vcpu);
    return vcpu_msr_done(exit, index, true, guest_msr_write(&vcpu->msrs, index, value, false),
                         value);
}
