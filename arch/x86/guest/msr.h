// SPDX-License-Identifier: BSD-2-Clause
// A guest's model-specific registers (SDM vol. 4; KVM's own: Documentation/virt/kvm/x86/msr.rst).
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "cpuid.h"
#include "lapic.h"

struct guest_msrs;

// Values that the hardware's control block or the world switch holds. The vCPU's own thread.
enum backend_register {
    BACKEND_RIP,
    BACKEND_RSP,
    BACKEND_RFLAGS,
    BACKEND_CPL, // only read
    BACKEND_CR0,
    BACKEND_CR3,
    BACKEND_CR4,
    BACKEND_GDT_BASE,
    BACKEND_GDT_LIMIT,
    BACKEND_IDT_BASE,
    BACKEND_IDT_LIMIT,
    // MSRs.
    BACKEND_EFER,
    BACKEND_FS_BASE,
    BACKEND_GS_BASE,
    BACKEND_SYSENTER_CS,
    BACKEND_SYSENTER_ESP,
    BACKEND_SYSENTER_EIP,
    BACKEND_PAT,
    BACKEND_KERNEL_GS_BASE,
    BACKEND_STAR,
    BACKEND_LSTAR,
    BACKEND_SYSCALL_MASK,
    BACKEND_TSC_AUX,
    BACKEND_CSTAR,
    BACKEND_HARDWARE, // the back ends hold those above; struct virt_vcpu those below
    BACKEND_SPEC_CTRL = BACKEND_HARDWARE,
    BACKEND_XSS,
    BACKEND_DEBUGCTL, // always 0
    BACKEND_COUNT,
};

struct guest_msr_backend {
    uint64_t (*get)(struct guest_msrs *msrs, enum backend_register which);
    // value has been checked against CPUID; for EFER the backend refuses a change of LME while
    // paging is on (unless host_initiated through KVM_SET_SREGS, which does not come here) and
    // keeps LMA. 0, or -1: #GP.
    int (*set)(struct guest_msrs *msrs, enum backend_register which, uint64_t value);
    uint64_t (*get_tsc)(struct guest_msrs *msrs); // guest TSC now
    // Sets the guest TSC to value now (guest or host write of IA32_TSC).
    void (*set_tsc)(struct guest_msrs *msrs, uint64_t value, bool host_initiated);
    void (*adjust_tsc)(struct guest_msrs *msrs, int64_t delta); // from IA32_TSC_ADJUST
    // IA32_PRED_CMD (IBPB) and IA32_FLUSH_CMD: do it now. 0 or -1: not possible, #GP.
    int (*command)(struct guest_msrs *msrs, uint32_t msr, uint64_t value);
    // One of KVM's own MSRs (MSR_KVM_SYSTEM_TIME ...) was written.
    void (*paravirtual)(struct guest_msrs *msrs, uint32_t index, uint64_t value,
                        bool host_initiated);
    // APIC base or MISC_ENABLE changed: call guest_cpuid_update, recheck MMIO owner.
    void (*cpuid_inputs_changed)(struct guest_msrs *msrs);
    // Host values of the feature MSRs (ARCH_CAPABILITIES); 0 where the host has none.
    uint64_t (*host_msr)(struct guest_msrs *msrs, uint32_t msr);
};

// Numbers of the MSRs that more than one place names (SDM vol. 4 table 2-2).
#define MSR_INDEX_PRED_CMD          0x49
#define MSR_INDEX_UCODE_REV         0x8b
#define MSR_INDEX_PLATFORM_INFO     0xce
#define MSR_INDEX_ARCH_CAPABILITIES 0x10a
#define MSR_INDEX_FLUSH_CMD         0x10b
#define MSR_INDEX_MTRR_BASE0        0x200
#define MSR_INDEX_MC0_CTL2          0x280
#define MSR_INDEX_PERF_CAPABILITIES 0x345
#define MSR_INDEX_MC0_CTL           0x400

#define GUEST_MTRR_VARIABLE 8
#define GUEST_MC_BANKS      32

// MCG_CAP (SDM vol. 3 16.3.1.1), and those KVM_X86_SETUP_MCE takes beside the number of banks.
#define MCG_CTL_P     (1ull << 8)
#define MCG_CMCI_P    (1ull << 10)
#define MCG_SER_P     (1ull << 24)
#define MCG_SUPPORTED (MCG_CTL_P | MCG_CMCI_P | MCG_SER_P)

// Values kept here. Reset by guest_msrs_init.
struct guest_msrs {
    const struct guest_msr_backend *backend;
    const struct guest_cpuid *cpuid;
    struct lapic *lapic; // NULL: no in-kernel local APIC (x2APIC range #GPs, APIC_BASE is kept)
    uint64_t apic_base;  // only without lapic
    uint64_t tsc_adjust;
    uint64_t misc_enable;
    uint64_t platform_info;
    uint64_t misc_features; // bit 0: CPUID faults at CPL > 0 (the CPUID exit checks it)
    uint64_t arch_capabilities;
    uint64_t perf_capabilities;
    uint64_t microcode_revision;
    uint64_t smi_count;
    uint64_t smbase;
    uint64_t feature_control;
    uint64_t power_ctl;
    uint64_t hwcr; // AMD's HWCR
    uint64_t mtrr_def_type;
    uint64_t mtrr_fixed[11];
    uint64_t mtrr_variable[GUEST_MTRR_VARIABLE][2]; // base, mask
    uint64_t mcg_cap, mcg_status, mcg_ctl;
    uint64_t mc_banks[GUEST_MC_BANKS][4]; // CTL, STATUS, ADDR, MISC
    uint64_t mc_ctl2[GUEST_MC_BANKS];
    uint64_t kvm_wall_clock, kvm_system_time, kvm_steal_time, kvm_pv_eoi, kvm_poll_control;
    // KVM_X86_SET_MSR_FILTER, asked for the guest's accesses but those of x2APIC; NULL: no filter.
    bool (*filter)(struct guest_msrs *msrs, uint32_t index, bool write);
    bool platform_info_hidden; // KVM_CAP_MSR_PLATFORM_INFO turned off
    bool enforce_pv_features;  // KVM_CAP_ENFORCE_PV_FEATURE_CPUID
};

// Whether the guest may use the paravirtual feature KVM_FEATURE_*.
static inline bool guest_pv_feature(const struct guest_msrs *msrs, unsigned feature) {
    return !msrs->enforce_pv_features || (msrs->cpuid->kvm_features >> feature & 1);
}

// Once, before all else.
void guest_msr_init(void);
void guest_msrs_init(struct guest_msrs *msrs, const struct guest_msr_backend *backend,
                     const struct guest_cpuid *cpuid, struct lapic *lapic);

#define GUEST_MSR_FILTERED (-3) // msrs->filter refuses it
#define GUEST_MSR_UNKNOWN  (-2) // no such MSR: #GP, or to user space by KVM_CAP_X86_USER_SPACE_MSR
#define GUEST_MSR_INVALID  (-1) // #GP
// host_initiated: KVM_GET/SET_MSRS (skips guest-only checks and CPUID gating, as KVM).
int guest_msr_read(struct guest_msrs *msrs, uint32_t index, uint64_t *value, bool host_initiated);
int guest_msr_write(struct guest_msrs *msrs, uint32_t index, uint64_t value, bool host_initiated);

// KVM_GET_MSR_INDEX_LIST / KVM_GET_MSR_FEATURE_INDEX_LIST.
extern uint32_t guest_msr_index_list[], guest_msr_index_count;
#define GUEST_MSR_FEATURES 4
extern const uint32_t guest_msr_feature_list[GUEST_MSR_FEATURES];
// Value of a feature MSR for KVM_GET_MSRS on /dev/kvm. host_msr reads the host's (0 if none).
int guest_msr_feature(uint32_t index, uint64_t (*host_msr)(uint32_t index), uint64_t *value);
// Bits of IA32_SPEC_CTRL that a CPUID table brings.
uint64_t guest_spec_ctrl_bits(const struct guest_cpuid *cpuid);
// KVM_X86_SETUP_MCE: 0 or -EINVAL.
int guest_msrs_setup_mce(struct guest_msrs *msrs, uint64_t mcg_cap);
