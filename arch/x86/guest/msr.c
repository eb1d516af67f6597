// SPDX-License-Identifier: BSD-2-Clause
// The table of guest MSRs and what reading and writing each of them does.
#include "msr_rule.h"
#include <asm/kvm_para.h>
#include <stddef.h>

#define EFER_LMA                (1ull << 10)
#define EFER_KNOWN              0xd01ull     // SCE, LME, LMA, NXE
#define FAULTING                (1ull << 31) // PLATFORM_INFO: CPUID faulting available
#define MISC_ENABLE_READ_ONLY   0x1800ull    // BTS and PEBS unavailable
#define MISC_ENABLE_FAST_STRING 1ull
// Immunities (bits 0-6, 8, 13-15, 17, 19, 20, 24, 26, 27); not those that bring further MSRs.
#define ARCH_CAPABILITIES_OFFERED 0x0d1ae17full

// -- the plain kinds --

static int write_field_host(const struct access *access, uint64_t value) {
    return access->host ? write_field(access, value) : GP;
}

static int read_field_host(const struct access *access, uint64_t *value) {
    return access->host ? read_field(access, value) : GP;
}

static int read_zero(const struct access *access, uint64_t *value) {
    (void)access;
    *value = 0;
    return OK;
}

static int write_ignored(const struct access *access, uint64_t value) {
    (void)access;
    (void)value;
    return OK;
}

static int write_canonical(const struct access *access, uint64_t value) {
    unsigned linear = access->msrs->cpuid->linear_bits ? access->msrs->cpuid->linear_bits : 48;
    unsigned shift = 64 - linear;

    if ((uint64_t)((int64_t)(value << shift) >> shift) != value)
        return GP;
    return write_backend(access, value);
}

// -- hardware-kept MSRs with rules of their own --

static int write_efer(const struct access *access, uint64_t value) {
    struct guest_msrs *msrs = access->msrs;
    uint64_t allowed = access->host ? EFER_KNOWN : msrs->cpuid->efer_allowed & EFER_KNOWN;
    uint64_t old = msrs->backend->get(msrs, BACKEND_EFER);

    if (value & ~(allowed | EFER_LMA))
        return GP;
    value = (value & ~EFER_LMA) | (old & EFER_LMA);
    return value == old ? OK : write_backend(access, value);
}

static int write_debugctl(const struct access *access, uint64_t value) {
    // BTF and LBR are dropped (neither is virtualized), as KVM does without a PMU.
    value &= ~3ull;
    return value ? GP : write_backend(access, value);
}

static bool has(const struct access *access, uint64_t feature) {
    return guest_cpuid_has(access->msrs->cpuid, feature);
}

static uint64_t spec_ctrl_allowed(const struct access *access) {
    bool intel = has(access, CPUID_SPEC_CTRL);
    return (intel || has(access, CPUID_AMD_IBRS) ? 1 : 0) |
           (intel || has(access, CPUID_STIBP) || has(access, CPUID_AMD_STIBP) ? 2 : 0) |
           (has(access, CPUID_SSBD) || has(access, CPUID_AMD_SSBD) ? 4 : 0);
}

static int read_spec_ctrl(const struct access *access, uint64_t *value) {
    if (!access->host && !spec_ctrl_allowed(access))
        return GP;
    return read_backend(access, value);
}

static int write_spec_ctrl(const struct access *access, uint64_t value) {
    uint64_t allowed = access->host ? 7 : spec_ctrl_allowed(access);

    if (!allowed || (value & ~allowed))
        return GP;
    return write_backend(access, value);
}

static int write_command(const struct access *access, uint64_t value) {
    if (!access->host && access->index == MSR_INDEX_PRED_CMD && !has(access, CPUID_SPEC_CTRL) &&
        !has(access, CPUID_AMD_IBPB))
        return GP;
    if (!access->host && access->index == MSR_INDEX_FLUSH_CMD && !has(access, CPUID_FLUSH_L1D))
        return GP;
    if (value == 0)
        return OK;
    return access->msrs->backend->command(access->msrs, access->index, value);
}

static int read_write_only(const struct access *access, uint64_t *value) {
    *value = 0;
    return access->host ? OK : GP;
}

static int write_xss(const struct access *access, uint64_t value) {
    if (value & ~access->msrs->cpuid->xss_allowed)
        return GP;
    int result = write_backend(access, value);
    if (result == OK)
        access->msrs->backend->cpuid_inputs_changed(access->msrs);
    return result;
}

// -- time --

static void tsc_moved(struct guest_msrs *msrs) {
    if (msrs->lapic)
        lapic_tsc_changed(msrs->lapic);
}

static int read_tsc(const struct access *access, uint64_t *value) {
    *value = access->msrs->backend->get_tsc(access->msrs);
    return OK;
}

static int write_tsc(const struct access *access, uint64_t value) {
    struct guest_msrs *msrs = access->msrs;

    if (access->host) {
        msrs->backend->set_tsc(msrs, value, true);
    } else {
        // A write moves IA32_TSC_ADJUST by the same amount (SDM vol. 3 18.17.3).
        uint64_t delta = value - msrs->backend->get_tsc(msrs);
        msrs->backend->adjust_tsc(msrs, (int64_t)delta);
        msrs->tsc_adjust += delta;
    }
    tsc_moved(msrs);
    return OK;
}

static int write_tsc_adjust(const struct access *access, uint64_t value) {
    struct guest_msrs *msrs = access->msrs;
    uint64_t delta = value - msrs->tsc_adjust;

    msrs->tsc_adjust = value;
    // From KVM_SET_MSRS it only restores the register: the TSC comes by its own MSR.
    if (!access->host && delta) {
        msrs->backend->adjust_tsc(msrs, (int64_t)delta);
        tsc_moved(msrs);
    }
    return OK;
}

static int read_tsc_deadline(const struct access *access, uint64_t *value) {
    *value = 0;
    if (!access->msrs->lapic)
        return access->host ? OK : GP;
    *value = lapic_get_tsc_deadline(access->msrs->lapic);
    return OK;
}

static int write_tsc_deadline(const struct access *access, uint64_t value) {
    if (!access->msrs->lapic)
        return access->host && value == 0 ? OK : GP;
    lapic_set_tsc_deadline(access->msrs->lapic, value);
    return OK;
}

// -- KVM's own --

static int write_paravirtual(const struct access *access, uint64_t value) {
    write_field(access, value);
    access->msrs->backend->paravirtual(access->msrs, access->index, value, access->host);
    return OK;
}

// -- platform --

static int read_apic_base(const struct access *access, uint64_t *value) {
    *value = access->msrs->lapic ? access->msrs->lapic->base : access->msrs->apic_base;
    return OK;
}

static int write_apic_base(const struct access *access, uint64_t value) {
    struct guest_msrs *msrs = access->msrs;

    if (msrs->lapic) {
        if (lapic_set_base(msrs->lapic, value, access->host))
            return GP;
    } else {
        uint64_t width = msrs->cpuid->physical_bits ? msrs->cpuid->physical_bits : 52;
        if (value & (~((1ull << width) - 1) | 0x2ff))
            return GP;
        msrs->apic_base = value;
    }
    msrs->backend->cpuid_inputs_changed(msrs);
    return OK;
}

static int write_misc_enable(const struct access *access, uint64_t value) {
    struct guest_msrs *msrs = access->msrs;

    if (!access->host)
        value = (value & ~MISC_ENABLE_READ_ONLY) | (msrs->misc_enable & MISC_ENABLE_READ_ONLY);
    msrs->misc_enable = value;
    msrs->backend->cpuid_inputs_changed(msrs);
    return OK;
}

static int read_platform_info(const struct access *access, uint64_t *value) {
    return !access->host && access->msrs->platform_info_hidden ? GP : read_field(access, value);
}

static int write_platform_info(const struct access *access, uint64_t value) {
    struct guest_msrs *msrs = access->msrs;

    if (!access->host || (!(value & FAULTING) && (msrs->misc_features & 1)))
        return GP;
    msrs->platform_info = value;
    return OK;
}

static int write_misc_features(const struct access *access, uint64_t value) {
    if ((value & 1) && !(access->msrs->platform_info & FAULTING))
        return GP;
    return write_field(access, value);
}

static int write_microcode(const struct access *access, uint64_t value) {
    // The guest writes 0 before CPUID to have the revision loaded (SDM vol. 3 10.11.7.1).
    return access->host ? write_field(access, value) : OK;
}

static int write_feature_control(const struct access *access, uint64_t value) {
    if (!access->host && (access->msrs->feature_control & 1))
        return GP; // locked
    return write_field(access, value);
}

// AMD's HWCR: what turns caches and errata's cures off is dropped, McStatusWrEn kept.
static int write_hwcr(const struct access *access, uint64_t value) {
    const uint64_t dropped = 1u << 3 | 1u << 6 | 1u << 8, kept = 1u << 18;

    return value & ~(dropped | kept) ? GP : write_field(access, value & kept);
}

static int read_perf_status(const struct access *access, uint64_t *value) {
    (void)access;
    *value = 1000ull | 4ull << 40; // as KVM: old guests divide by the multiplier
    return OK;
}

// -- the table --

enum slot {
    NONE,
    TSC,
    TSC_ADJUST,
    TSC_DEADLINE,
    WALL_CLOCK,
    SYSTEM_TIME,
    WALL_CLOCK_NEW,
    SYSTEM_TIME_NEW,
    STEAL_TIME,
    PV_EOI,
    POLL_CONTROL,
    APIC_BASE,
    FEATURE_CONTROL,
    SPEC_CTRL,
    COMMAND,
    UCODE_WRITE,
    UCODE_REV,
    PLATFORM_INFO,
    MTRR_CAP,
    ARCH_CAPS,
    MISC_FEATURES,
    SYSENTER_CS,
    SYSENTER_ESP,
    SYSENTER_EIP,
    MCG_CAP,
    MCG_STATUS,
    MCG_CTL,
    ZERO,
    ZERO_WRITABLE,
    PERF_STATUS,
    MISC_ENABLE,
    DEBUGCTL,
    POWER_CTL,
    HWCR,
    MTRR_VARIABLE,
    MTRR_FIXED,
    MTRR_DEFAULT,
    PAT,
    MC_CTL2,
    MC_BANK,
    PERF_CAPABILITIES,
    SMI_COUNT,
    SMBASE,
    EFER,
    STAR,
    LSTAR,
    CSTAR,
    SYSCALL_MASK,
    FS_BASE,
    GS_BASE,
    KERNEL_GS_BASE,
    TSC_AUX,
    XSS,
    SLOT_COUNT,
};

#define HIGH_HALF  0xffffffff00000000ull
#define FIELD(f)   .field = offsetof(struct guest_msrs, f)
#define BACKEND(b) .field = (b)
#define PARAVIRTUAL(f, bit, mask)                                                                  \
    read_field, write_paravirtual, mask, CPUID_FEATURE(KVM_CPUID_FEATURES, 0, CPUID_EAX, bit),     \
        FIELD(f)

static const struct msr_rule rules[SLOT_COUNT] = {
    [TSC] = {read_tsc, write_tsc, 0, 0, 0},
    [TSC_ADJUST] = {read_field, write_tsc_adjust, 0, CPUID_TSC_ADJUST, FIELD(tsc_adjust)},
    [TSC_DEADLINE] = {read_tsc_deadline, write_tsc_deadline, 0, CPUID_TSC_DEADLINE, 0},
    [WALL_CLOCK] = {PARAVIRTUAL(kvm_wall_clock, KVM_FEATURE_CLOCKSOURCE, 0)},
    [SYSTEM_TIME] = {PARAVIRTUAL(kvm_system_time, KVM_FEATURE_CLOCKSOURCE, 0)},
    [WALL_CLOCK_NEW] = {PARAVIRTUAL(kvm_wall_clock, KVM_FEATURE_CLOCKSOURCE2, 0)},
    [SYSTEM_TIME_NEW] = {PARAVIRTUAL(kvm_system_time, KVM_FEATURE_CLOCKSOURCE2, 0)},
    [STEAL_TIME] = {PARAVIRTUAL(kvm_steal_time, KVM_FEATURE_STEAL_TIME, KVM_STEAL_RESERVED_MASK)},
    [PV_EOI] = {PARAVIRTUAL(kvm_pv_eoi, KVM_FEATURE_PV_EOI, 2)}, // aligned to 4 bytes
    [POLL_CONTROL] = {PARAVIRTUAL(kvm_poll_control, KVM_FEATURE_POLL_CONTROL, ~1ull)},
    [APIC_BASE] = {read_apic_base, write_apic_base, 0, 0, 0},
    [FEATURE_CONTROL] = {read_field, write_feature_control, ~1ull, 0, FIELD(feature_control)},
    [SPEC_CTRL] = {read_spec_ctrl, write_spec_ctrl, 0, 0, BACKEND(BACKEND_SPEC_CTRL)},
    [COMMAND] = {read_write_only, write_command, ~1ull, 0, 0},
    [UCODE_WRITE] = {read_write_only, write_ignored, 0, 0, 0},
    [UCODE_REV] = {read_field, write_microcode, 0, 0, FIELD(microcode_revision)},
    [PLATFORM_INFO] = {read_platform_info, write_platform_info, 0, 0, FIELD(platform_info)},
    [MTRR_CAP] = {read_mtrr_capabilities, NULL, 0, 0, 0},
    [ARCH_CAPS] = {read_field, write_field_host, 0, CPUID_ARCH_CAPS, FIELD(arch_capabilities)},
    [MISC_FEATURES] = {read_field, write_misc_features, ~1ull, 0, FIELD(misc_features)},
    [SYSENTER_CS] = {read_backend, write_backend, HIGH_HALF, 0, BACKEND(BACKEND_SYSENTER_CS)},
    [SYSENTER_ESP] = {read_backend, write_canonical, 0, 0, BACKEND(BACKEND_SYSENTER_ESP)},
    [SYSENTER_EIP] = {read_backend, write_canonical, 0, 0, BACKEND(BACKEND_SYSENTER_EIP)},
    [MCG_CAP] = {read_field, NULL, 0, 0, FIELD(mcg_cap)},
    [MCG_STATUS] = {read_field, write_field, 0, 0, FIELD(mcg_status)},
    [MCG_CTL] = {read_mcg_ctl, write_mcg_ctl, 0, 0, FIELD(mcg_ctl)},
    [ZERO] = {read_zero, NULL, 0, 0, 0},
    [ZERO_WRITABLE] = {read_zero, write_ignored, 0, 0, 0},
    [PERF_STATUS] = {read_perf_status, NULL, 0, 0, 0},
    [MISC_ENABLE] = {read_field, write_misc_enable, 0, 0, FIELD(misc_enable)},
    [DEBUGCTL] = {read_backend, write_debugctl, 0, 0, BACKEND(BACKEND_DEBUGCTL)},
    [POWER_CTL] = {read_field, write_field, 0, 0, FIELD(power_ctl)},
    [HWCR] = {read_field, write_hwcr, 0, 0, FIELD(hwcr)},
    [MTRR_VARIABLE] = {read_mtrr_variable, write_mtrr_variable, 0, 0, 0},
    [MTRR_FIXED] = {read_mtrr_fixed, write_mtrr_fixed, 0, 0, 0},
    [MTRR_DEFAULT] = {read_field, write_mtrr_default, ~0xcffull, 0, FIELD(mtrr_def_type)},
    [PAT] = {read_backend, write_pat, 0, 0, BACKEND(BACKEND_PAT)},
    [MC_CTL2] = {read_mc_ctl2, write_mc_ctl2, 0, 0, 0},
    [MC_BANK] = {read_mc_bank, write_mc_bank, 0, 0, 0},
    [PERF_CAPABILITIES] = {read_field, write_field_host, ~0ull, 0, FIELD(perf_capabilities)},
    [SMI_COUNT] = {read_field, write_field_host, 0, 0, FIELD(smi_count)},
    [SMBASE] = {read_field_host, write_field_host, HIGH_HALF, 0, FIELD(smbase)},
    [EFER] = {read_backend, write_efer, 0, 0, BACKEND(BACKEND_EFER)},
    [STAR] = {read_backend, write_backend, 0, 0, BACKEND(BACKEND_STAR)},
    [LSTAR] = {read_backend, write_canonical, 0, 0, BACKEND(BACKEND_LSTAR)},
    [CSTAR] = {read_backend, write_canonical, 0, 0, BACKEND(BACKEND_CSTAR)},
    // The world switch loads it with WRMSR, which refuses the high half.
    [SYSCALL_MASK] = {read_backend, write_backend, HIGH_HALF, 0, BACKEND(BACKEND_SYSCALL_MASK)},
    [FS_BASE] = {read_backend, write_canonical, 0, 0, BACKEND(BACKEND_FS_BASE)},
    [GS_BASE] = {read_backend, write_canonical, 0, 0, BACKEND(BACKEND_GS_BASE)},
    [KERNEL_GS_BASE] = {read_backend, write_canonical, 0, 0, BACKEND(BACKEND_KERNEL_GS_BASE)},
    [TSC_AUX] = {read_backend, write_backend, HIGH_HALF, CPUID_RDTSCP, BACKEND(BACKEND_TSC_AUX)},
    [XSS] = {read_backend, write_xss, 0, CPUID_XSAVES, BACKEND(BACKEND_XSS)},
};

// Architectural range, direct. ZERO_WRITABLE: no PMU, reads zero, writes are dropped (as KVM).
static const uint8_t low_slots[0x480] = {
    [0x010] = TSC,
    [MSR_KVM_WALL_CLOCK] = WALL_CLOCK,
    [MSR_KVM_SYSTEM_TIME] = SYSTEM_TIME,
    [0x017] = ZERO, // PLATFORM_ID
    [0x01b] = APIC_BASE,
    [0x02a] = ZERO, // EBL_CR_POWERON
    [0x034] = SMI_COUNT,
    [0x03a] = FEATURE_CONTROL,
    [0x03b] = TSC_ADJUST,
    [0x048] = SPEC_CTRL,
    [MSR_INDEX_PRED_CMD] = COMMAND,
    [0x079] = UCODE_WRITE,
    [0x08b] = UCODE_REV,
    [0x0c1 ... 0x0c2] = ZERO_WRITABLE, // PERFCTR0, 1
    [0x09e] = SMBASE,
    [0x0ce] = PLATFORM_INFO,
    [0x0fe] = MTRR_CAP,
    [0x10a] = ARCH_CAPS,
    [MSR_INDEX_FLUSH_CMD] = COMMAND,
    [0x140] = MISC_FEATURES,
    [0x174] = SYSENTER_CS,
    [0x175] = SYSENTER_ESP,
    [0x176] = SYSENTER_EIP,
    [0x179] = MCG_CAP,
    [0x17a] = MCG_STATUS,
    [0x17b] = MCG_CTL,
    [0x186 ... 0x187] = ZERO_WRITABLE, // PERFEVTSEL0, 1
    [0x198] = PERF_STATUS,
    [0x199] = ZERO_WRITABLE, // PERF_CTL
    [0x1a0] = MISC_ENABLE,
    [0x1d9] = DEBUGCTL,
    [0x1db ... 0x1de] = ZERO, // last branch and exception
    [0x1fc] = POWER_CTL,
    [MSR_INDEX_MTRR_BASE0... MSR_INDEX_MTRR_BASE0 + 2 * GUEST_MTRR_VARIABLE - 1] = MTRR_VARIABLE,
    [0x250] = MTRR_FIXED,
    [0x258 ... 0x259] = MTRR_FIXED,
    [0x268 ... 0x26f] = MTRR_FIXED,
    [0x277] = PAT,
    [MSR_INDEX_MC0_CTL2... MSR_INDEX_MC0_CTL2 + GUEST_MC_BANKS - 1] = MC_CTL2,
    [0x2ff] = MTRR_DEFAULT,
    [0x345] = PERF_CAPABILITIES,
    [MSR_INDEX_MC0_CTL... MSR_INDEX_MC0_CTL + 4 * GUEST_MC_BANKS - 1] = MC_BANK,
};

static const uint8_t syscall_slots[5] = {EFER, STAR, LSTAR, CSTAR, SYSCALL_MASK};
static const uint8_t paravirtual_slots[6] = {WALL_CLOCK_NEW, SYSTEM_TIME_NEW, NONE,
                                             STEAL_TIME,     PV_EOI,          POLL_CONTROL};
static const uint8_t base_slots[4] = {FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX};

// AMD's configuration registers that systems read, or write to mend errata, unasked (KVM has the
// same ones, whatever processor CPUID names).
#define AMD_FIRST  0xc0010000
#define AMD_SECOND 0xc0011000
static const uint8_t amd_slots[0x118] = {
    [0x000 ... 0x007] = ZERO_WRITABLE, // PERF_CTL0-3, PERF_CTR0-3
    [0x010] = ZERO,                    // SYSCFG
    [0x015] = HWCR,
    [0x01f ... 0x020] = ZERO_WRITABLE, // NB_CFG, PATCH_LOADER
    [0x055] = ZERO,                    // INT_PENDING
    [0x058] = ZERO,                    // MMIO_CFG_BASE
    [0x112 ... 0x113] = ZERO,          // TSEG address and mask
    [0x117] = ZERO_WRITABLE,           // VM_HSAVE_PA
};
static const uint8_t amd_core_slots[0x30] = {
    [0x022] = ZERO_WRITABLE, // DC_CFG
    [0x02a] = ZERO_WRITABLE, // BU_CFG2
    [0x02c] = ZERO_WRITABLE, // EX_CFG
};

static enum slot find_slot(uint32_t index) {
    if (index < sizeof low_slots)
        return low_slots[index];
    if (index - 0xc0000080 < sizeof syscall_slots)
        return syscall_slots[index - 0xc0000080];
    if (index - 0xc0000100 < sizeof base_slots)
        return base_slots[index - 0xc0000100];
    if (index - MSR_KVM_WALL_CLOCK_NEW < sizeof paravirtual_slots)
        return paravirtual_slots[index - MSR_KVM_WALL_CLOCK_NEW];
    if (index - AMD_FIRST < sizeof amd_slots)
        return amd_slots[index - AMD_FIRST];
    if (index - AMD_SECOND < sizeof amd_core_slots)
        return amd_core_slots[index - AMD_SECOND];
    switch (index) {
    case 0x6e0:
        return TSC_DEADLINE;
    case 0xda0:
        return XSS;
    case 0x606: // RAPL power unit and energy counters: Linux reads them unasked
    case 0x611:
    case 0x619:
    case 0x639:
    case 0x641:
        return ZERO;
    default:
        return NONE;
    }
}

static bool is_x2apic(uint32_t index) {
    return index - 0x800 < 0x100;
}

// Whether the guest has the feature that brings the MSR. KVM's own do not depend on CPUID unless
// KVM_CAP_ENFORCE_PV_FEATURE_CPUID says so.
static bool present(const struct access *access) {
    uint64_t feature = access->rule->feature;
    if (feature >> 32 == KVM_CPUID_FEATURES)
        return guest_pv_feature(access->msrs, feature & 31);
    return has(access, feature);
}

static bool filtered(struct guest_msrs *msrs, uint32_t index, bool write, bool host_initiated) {
    return __builtin_expect(msrs->filter != NULL, 0) && !host_initiated &&
           !msrs->filter(msrs, index, write);
}

int guest_msr_read(struct guest_msrs *msrs, uint32_t index, uint64_t *value, bool host_initiated) {
    if (is_x2apic(index)) {
        if (!msrs->lapic)
            return GUEST_MSR_UNKNOWN;
        return lapic_msr_read(msrs->lapic, index, value);
    }
    if (filtered(msrs, index, false, host_initiated))
        return GUEST_MSR_FILTERED;
    enum slot slot = find_slot(index);
    if (slot == NONE)
        return GUEST_MSR_UNKNOWN;
    struct access access = {msrs, &rules[slot], index, host_initiated};
    if (access.rule->feature && !host_initiated && !present(&access))
        return GP;
    return access.rule->read(&access, value);
}

int guest_msr_write(struct guest_msrs *msrs, uint32_t index, uint64_t value, bool host_initiated) {
    if (is_x2apic(index)) {
        if (!msrs->lapic)
            return GUEST_MSR_UNKNOWN;
        return lapic_msr_write(msrs->lapic, index, value);
    }
    if (filtered(msrs, index, true, host_initiated))
        return GUEST_MSR_FILTERED;
    enum slot slot = find_slot(index);
    if (slot == NONE)
        return GUEST_MSR_UNKNOWN;
    struct access access = {msrs, &rules[slot], index, host_initiated};
    if (!access.rule->write || (value & access.rule->reserved))
        return GP;
    if (access.rule->feature && !host_initiated && !present(&access))
        return GP;
    return access.rule->write(&access, value);
}

// -- start and features --

int guest_msr_feature(uint32_t index, uint64_t (*host_msr)(uint32_t index), uint64_t *value) {
    switch (index) {
    case MSR_INDEX_ARCH_CAPABILITIES:
        *value = host_msr(index) & ARCH_CAPABILITIES_OFFERED;
        return OK;
    case MSR_INDEX_UCODE_REV:
        *value = host_msr(index);
        return OK;
    case MSR_INDEX_PLATFORM_INFO:
    case MSR_INDEX_PERF_CAPABILITIES:
        *value = 0;
        return OK;
    default:
        return GUEST_MSR_UNKNOWN;
    }
}

void guest_msrs_init(struct guest_msrs *msrs, const struct guest_msr_backend *backend,
                     const struct guest_cpuid *cpuid, struct lapic *lapic) {
    *msrs = (struct guest_msrs){
        .backend = backend,
        .cpuid = cpuid,
        .lapic = lapic,
        .apic_base = LAPIC_DEFAULT_BASE | LAPIC_BASE_ENABLE,
        .misc_enable = MISC_ENABLE_READ_ONLY | MISC_ENABLE_FAST_STRING,
        .microcode_revision = 1ull << 32,
        .mcg_cap = GUEST_MC_BANKS,
        .kvm_poll_control = 1,
    };
    if (backend->host_msr)
        msrs->arch_capabilities =
            backend->host_msr(msrs, MSR_INDEX_ARCH_CAPABILITIES) & ARCH_CAPABILITIES_OFFERED;
}
