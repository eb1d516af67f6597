// SPDX-License-Identifier: BSD-2-Clause
// What KVM_GET_MSR_INDEX_LIST and KVM_GET_MSR_FEATURE_INDEX_LIST name: the MSRs a VMM saves and
// restores. Machine-check banks and MTRRs are known to exist by MCG_CAP and MTRRCAP.
#include "msr.h"
#include "msr_index.h"
#include <asm/kvm_para.h>

const uint32_t guest_msr_index_list[] = {
    0x174,
    0x175,
    0x176, // SYSENTER
    0xc0000081,
    0xc0000082,
    0xc0000083,
    0xc0000084, // STAR, LSTAR, CSTAR, FMASK
    0xc0000102, // KERNEL_GS_BASE
    0xc0000103, // TSC_AUX
    0xc0000080, // EFER
    0x010,
    0x03b,
    0x6e0, // TSC, TSC_ADJUST, TSC_DEADLINE
    0x277, // PAT
    0x03a,
    0x048, // FEATURE_CONTROL, SPEC_CTRL
    0xda0, // XSS
    0x1a0, // MISC_ENABLE
    0x1d9, // DEBUGCTL
    0x17a,
    0x17b, // MCG_STATUS, MCG_CTL
    0x034,
    0x09e, // SMI_COUNT, SMBASE
    MSR_INDEX_PLATFORM_INFO,
    0x140, // MISC_FEATURES_ENABLES
    MSR_INDEX_ARCH_CAPABILITIES,
    MSR_INDEX_UCODE_REV,
    0x1fc,      // POWER_CTL
    0xc0010015, // HWCR
    MSR_KVM_WALL_CLOCK,
    MSR_KVM_SYSTEM_TIME,
    MSR_KVM_WALL_CLOCK_NEW,
    MSR_KVM_SYSTEM_TIME_NEW,
    MSR_KVM_STEAL_TIME,
    MSR_KVM_PV_EOI_EN,
    MSR_KVM_POLL_CONTROL,
    0x2ff,
    0x250,
    0x258,
    0x259, // MTRRs
    0x268,
    0x269,
    0x26a,
    0x26b,
    0x26c,
    0x26d,
    0x26e,
    0x26f,
    0x200,
    0x201,
    0x202,
    0x203,
    0x204,
    0x205,
    0x206,
    0x207,
    0x208,
    0x209,
    0x20a,
    0x20b,
    0x20c,
    0x20d,
    0x20e,
    0x20f,
};
const uint32_t guest_msr_index_count = sizeof guest_msr_index_list / sizeof guest_msr_index_list[0];

const uint32_t guest_msr_feature_list[] = {
    MSR_INDEX_ARCH_CAPABILITIES,
    MSR_INDEX_UCODE_REV,
    MSR_INDEX_PLATFORM_INFO,
    MSR_INDEX_PERF_CAPABILITIES,
};
const uint32_t guest_msr_feature_count =
    sizeof guest_msr_feature_list / sizeof guest_msr_feature_list[0];
