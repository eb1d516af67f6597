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
    *value = 0;
    return OK;
}

static int write_ignored(const struct access *access, uint64_t value) {
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

uint64_t guest_spec_ctrl_bits(const struct guest_cpuid *cpuid) {
    bool intel = guest_cpuid_has(cpuid, CPUID_SPEC_CTRL);
    bool stibp = guest_cpuid_has(cpuid, CPUID_STIBP) || guest_cpuid_has(cpuid, CPUID_AMD_STIBP);
    bool ssbd = guest_cpuid_has(cpuid, CPUID_SSBD) || guest_cpuid_has(cpuid, CPUID_AMD_SSBD);
    return (intel || guest_cpuid_has(cpuid, CPUID_AMD_IBRS) ? 1 : 0) | (intel || stibp ? 2 : 0) |
           (ssbd ? 4 : 0);
}

static int read_spec_ctrl(const struct access *access, uint64_t *value) {
    if (!access->host && !guest_spec_ctrl_bits(access->msrs->cpuid))
        return GP;
    return read_backend(access, value);
}

static int write_spec_ctrl(const struct access *access, uint64_t value) {
    uint64_t allowed = access->host ? 7 : guest_spec_ctrl_bits(access->msrs->cpuid);

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

static int read_time_stamp(const struct access *access, uint64_t *value) {
    *value = access->msrs->backend->get_tsc(access->msrs);
    return OK;
}

static int write_time_stamp(const struct access *access, uint64_t value) {
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
    *value = 1000ull | 4ull << 40; // as KVM: old guests divide by the multiplier
    return OK;
}

// -- the table --

#define HIGH_HALF  0xffffffff00000000ull
#define NO_FIELD   .field = 0
#define FIELD(f)   .field = offsetof(struct guest_msrs, f)
#define BACKEND(b) .field = BACKEND_##b
#define PARAVIRTUAL(f, bit)                                                                        \
    read_field, write_paravirtual, FIELD(f),                                                       \
        .feature = CPUID_FEATURE(KVM_CPUID_FEATURES, 0, CPUID_EAX, bit)
// What KVM_GET_MSR_INDEX_LIST names: what a VMM saves and restores. Machine-check banks are known
// to exist by MCG_CAP.
#define SAVED true

// READ_ZERO, write_ignored: no PMU, and what systems read, or write to mend errata, unasked (KVM
// has the same ones, whatever processor CPUID names).
#define READ_ZERO read_zero, NULL, NO_FIELD
#define DROPPED   read_zero, write_ignored, NO_FIELD
static const struct msr_rule rules[] = {
    {0}, // no MSR
    {0x010, 1, SAVED, read_time_stamp, write_time_stamp, NO_FIELD},
    {MSR_KVM_WALL_CLOCK, 1, SAVED, PARAVIRTUAL(kvm_wall_clock, KVM_FEATURE_CLOCKSOURCE)},
    {MSR_KVM_SYSTEM_TIME, 1, SAVED, PARAVIRTUAL(kvm_system_time, KVM_FEATURE_CLOCKSOURCE)},
    {0x017, 1, false, READ_ZERO}, // PLATFORM_ID
    {0x01b, 1, false, read_apic_base, write_apic_base, NO_FIELD},
    {0x02a, 1, false, READ_ZERO}, // EBL_CR_POWERON
    {0x034, 1, SAVED, read_field, write_field_host, FIELD(smi_count)},
    {0x03a, 1, SAVED, read_field, write_feature_control, FIELD(feature_control), .reserved = ~1ull},
    {0x03b, 1, SAVED, read_field, write_tsc_adjust, FIELD(tsc_adjust), .feature = CPUID_TSC_ADJUST},
    {0x048, 1, SAVED, read_spec_ctrl, write_spec_ctrl, BACKEND(SPEC_CTRL)},
    {MSR_INDEX_PRED_CMD, 1, false, read_write_only, write_command, .reserved = ~1ull},
    {0x079, 1, false, read_write_only, write_ignored, NO_FIELD}, // BIOS_UPDT_TRIG
    {MSR_INDEX_UCODE_REV, 1, SAVED, read_field, write_microcode, FIELD(microcode_revision)},
    {0x09e, 1, SAVED, read_field_host, write_field_host, FIELD(smbase), .reserved = HIGH_HALF},
    {0x0c1, 2, false, DROPPED}, // PERFCTR0, 1
    {MSR_INDEX_PLATFORM_INFO, 1, SAVED, read_platform_info, write_platform_info,
     FIELD(platform_info)},
    {0x0fe, 1, false, read_mtrr_capabilities, NULL, NO_FIELD},
    {MSR_INDEX_ARCH_CAPABILITIES, 1, SAVED, read_field, write_field_host, FIELD(arch_capabilities),
     .feature = CPUID_ARCH_CAPS},
    {MSR_INDEX_FLUSH_CMD, 1, false, read_write_only, write_command, .reserved = ~1ull},
    {0x140, 1, SAVED, read_field, write_misc_features, FIELD(misc_features), .reserved = ~1ull},
    {0x174, 1, SAVED, read_backend, write_backend, BACKEND(SYSENTER_CS), .reserved = HIGH_HALF},
    {0x175, 1, SAVED, read_backend, write_canonical, BACKEND(SYSENTER_ESP)},
    {0x176, 1, SAVED, read_backend, write_canonical, BACKEND(SYSENTER_EIP)},
    {0x179, 1, false, read_field, NULL, FIELD(mcg_cap)},
    {0x17a, 1, SAVED, read_field, write_field, FIELD(mcg_status)},
    {0x17b, 1, SAVED, read_mcg_ctl, write_mcg_ctl, FIELD(mcg_ctl)},
    {0x186, 2, false, DROPPED}, // PERFEVTSEL0, 1
    {0x198, 1, false, read_perf_status, NULL, NO_FIELD},
    {0x199, 1, false, DROPPED}, // PERF_CTL
    {0x1a0, 1, SAVED, read_field, write_misc_enable, FIELD(misc_enable)},
    {0x1d9, 1, SAVED, read_backend, write_debugctl, BACKEND(DEBUGCTL)},
    {0x1db, 4, false, READ_ZERO}, // last branch and exception
    {0x1fc, 1, SAVED, read_field, write_field, FIELD(power_ctl)},
    {MSR_INDEX_MTRR_BASE0, 2 * GUEST_MTRR_VARIABLE, SAVED, read_mtrr_variable, write_mtrr_variable,
     NO_FIELD},
    {0x250, 1, SAVED, read_mtrr_fixed, write_mtrr_fixed, NO_FIELD},
    {0x258, 2, SAVED, read_mtrr_fixed, write_mtrr_fixed, NO_FIELD},
    {0x268, 8, SAVED, read_mtrr_fixed, write_mtrr_fixed, NO_FIELD},
    {0x277, 1, SAVED, read_backend, write_pat, BACKEND(PAT)},
    {MSR_INDEX_MC0_CTL2, GUEST_MC_BANKS, false, read_mc_ctl2, write_mc_ctl2, NO_FIELD},
    {0x2ff, 1, SAVED, read_field, write_mtrr_default, FIELD(mtrr_def_type), .reserved = ~0xcffull},
    {MSR_INDEX_PERF_CAPABILITIES, 1, false, read_field, write_field_host, FIELD(perf_capabilities),
     .reserved = ~0ull},
    {MSR_INDEX_MC0_CTL, 4 * GUEST_MC_BANKS, false, read_mc_bank, write_mc_bank, NO_FIELD},
    {0x606, 1, false, READ_ZERO}, // RAPL power unit and energy counters
    {0x611, 1, false, READ_ZERO},
    {0x619, 1, false, READ_ZERO},
    {0x639, 1, false, READ_ZERO},
    {0x641, 1, false, READ_ZERO},
    {0x6e0, 1, SAVED, read_tsc_deadline, write_tsc_deadline, .feature = CPUID_TSC_DEADLINE},
    {0xda0, 1, SAVED, read_backend, write_xss, BACKEND(XSS), .feature = CPUID_XSAVES},
    {MSR_KVM_WALL_CLOCK_NEW, 1, SAVED, PARAVIRTUAL(kvm_wall_clock, KVM_FEATURE_CLOCKSOURCE2)},
    {MSR_KVM_SYSTEM_TIME_NEW, 1, SAVED, PARAVIRTUAL(kvm_system_time, KVM_FEATURE_CLOCKSOURCE2)},
    {MSR_KVM_STEAL_TIME, 1, SAVED, PARAVIRTUAL(kvm_steal_time, KVM_FEATURE_STEAL_TIME),
     .reserved = KVM_STEAL_RESERVED_MASK},
    {MSR_KVM_PV_EOI_EN, 1, SAVED, PARAVIRTUAL(kvm_pv_eoi, KVM_FEATURE_PV_EOI),
     .reserved = 2}, // aligned to 4 bytes
    {MSR_KVM_POLL_CONTROL, 1, SAVED, PARAVIRTUAL(kvm_poll_control, KVM_FEATURE_POLL_CONTROL),
     .reserved = ~1ull},
    {0xc0000080, 1, SAVED, read_backend, write_efer, BACKEND(EFER)},
    {0xc0000081, 1, SAVED, read_backend, write_backend, BACKEND(STAR)},
    {0xc0000082, 1, SAVED, read_backend, write_canonical, BACKEND(LSTAR)},
    {0xc0000083, 1, SAVED, read_backend, write_canonical, BACKEND(CSTAR)},
    // The world switch loads it with WRMSR, which refuses the high half.
    {0xc0000084, 1, SAVED, read_backend, write_backend, BACKEND(SYSCALL_MASK),
     .reserved = HIGH_HALF},
    {0xc0000100, 1, false, read_backend, write_canonical, BACKEND(FS_BASE)},
    {0xc0000101, 1, false, read_backend, write_canonical, BACKEND(GS_BASE)},
    {0xc0000102, 1, SAVED, read_backend, write_canonical, BACKEND(KERNEL_GS_BASE)},
    {0xc0000103, 1, SAVED, read_backend, write_backend, BACKEND(TSC_AUX), .reserved = HIGH_HALF,
     .feature = CPUID_RDTSCP},
    {0xc0010000, 8, false, DROPPED},   // PERF_CTL0-3, PERF_CTR0-3
    {0xc0010010, 1, false, READ_ZERO}, // SYSCFG
    {0xc0010015, 1, SAVED, read_field, write_hwcr, FIELD(hwcr)},
    {0xc001001f, 2, false, DROPPED},   // NB_CFG, PATCH_LOADER
    {0xc0010055, 1, false, READ_ZERO}, // INT_PENDING
    {0xc0010058, 1, false, READ_ZERO}, // MMIO_CFG_BASE
    {0xc0010112, 2, false, READ_ZERO}, // TSEG address and mask
    {0xc0010117, 1, false, DROPPED},   // VM_HSAVE_PA
    {0xc0011022, 1, false, DROPPED},   // DC_CFG
    {0xc001102a, 1, false, DROPPED},   // BU_CFG2
    {0xc001102c, 1, false, DROPPED},   // EX_CFG
};

// The rule of each MSR, by its number in the table: of the architectural range, and of three
// others.
#define KVM_FIRST  MSR_KVM_WALL_CLOCK_NEW
#define HIGH_FIRST 0xc0000080
#define AMD_FIRST  0xc0010000
static uint8_t low_rules[0xe00], kvm_rules[8], high_rules[0x88], amd_rules[0x1030];
uint32_t guest_msr_index_list[96], guest_msr_index_count;

// NULL: there is no such MSR.
static uint8_t *rule_number(uint32_t index) {
    if (index < sizeof low_rules)
        return &low_rules[index];
    if (index - HIGH_FIRST < sizeof high_rules)
        return &high_rules[index - HIGH_FIRST];
    if (index - KVM_FIRST < sizeof kvm_rules)
        return &kvm_rules[index - KVM_FIRST];
    return index - AMD_FIRST < sizeof amd_rules ? &amd_rules[index - AMD_FIRST] : NULL;
}

_Static_assert(sizeof rules / sizeof *rules <= UINT8_MAX, "a rule's number is a byte");

void guest_msr_init(void) {
    guest_msr_index_count = 0;
    for (unsigned i = 1; i < sizeof rules / sizeof *rules; i++)
        for (uint32_t index = rules[i].first; index < rules[i].first + rules[i].count; index++) {
            *rule_number(index) = (uint8_t)i;
            if (rules[i].saved)
                guest_msr_index_list[guest_msr_index_count++] = index;
        }
}

// NULL: there is no such MSR.
static const struct msr_rule *find_rule(uint32_t index) {
    const uint8_t *number = rule_number(index);
    return number && *number ? &rules[*number] : NULL;
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
    struct access access = {msrs, find_rule(index), index, host_initiated};
    if (!access.rule)
        return GUEST_MSR_UNKNOWN;
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
    struct access access = {msrs, find_rule(index), index, host_initiated};
    if (!access.rule)
        return GUEST_MSR_UNKNOWN;
    if (!access.rule->write || (value & access.rule->reserved))
        return GP;
    if (access.rule->feature && !host_initiated && !present(&access))
        return GP;
    return access.rule->write(&access, value);
}

// -- start and features --

const uint32_t guest_msr_feature_list[GUEST_MSR_FEATURES] = {
    MSR_INDEX_ARCH_CAPABILITIES, MSR_INDEX_UCODE_REV, MSR_INDEX_PLATFORM_INFO,
    MSR_INDEX_PERF_CAPABILITIES};

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
