// SPDX-License-Identifier: BSD-2-Clause
// CPUID as guests see it: what Ashlar can offer on this processor (KVM_GET_SUPPORTED_CPUID) and a
// vCPU's own table (KVM_SET_CPUID2) arranged so that the exit finds a leaf at once.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include "arch/x86/cpu/instruction.h"

// How the host's CPUID is read (the instruction in the kernel, a table in tests).
typedef struct cpuid_regs (*cpuid_reader)(uint32_t leaf, uint32_t subleaf);

// What the processor's virtualization lets us offer, besides host CPUID.
struct cpuid_host {
    cpuid_reader read;
    uint64_t xcr0;                         // XCR0 bits a guest may set
    uint64_t xss;                          // IA32_XSS bits a guest may set
    bool rdtscp, invpcid, xsaves, waitpkg; // the back end enables them
    bool compacts;                         // cpuid_compacts
    uint8_t linear_bits;                   // of canonical addresses in MSRs
    bool spec_ctrl;                        // IA32_SPEC_CTRL is switched with the guest
    uint64_t spec_ctrl_bits;               // those it has
    bool flush_l1d, arch_capabilities;     // MSRs the host has
    bool x2apic_emulated; // in-kernel local APIC: X2APIC and TSC_DEADLINE may be offered
    bool tsc_stable;      // KVM_FEATURE_CLOCKSOURCE_STABLE_BIT
};

// Whether XSAVEC's format is the architecture's. In Bochs 2.7 it is not: the AVX state is saved
// where no XRSTOR looks for it, and the size that CPUID has for it counts the SSE state twice.
// xcr0: what is enabled, and no bit of IA32_XSS is.
bool cpuid_compacts(cpuid_reader read, uint64_t xcr0);

#define CPUID_MAX_ENTRIES 256 // KVM_SET_CPUID2's limit, as KVM_MAX_CPUID_ENTRIES

// Fills at most *count entries. 0 and *count = number, or -E2BIG and *count = number needed.
int cpuid_supported(const struct cpuid_host *host, struct kvm_cpuid_entry2 *entries,
                    uint32_t *count);

// Features by (leaf, subleaf, register, bit): register 0..3 = EAX..EDX.
#define CPUID_FEATURE(leaf, subleaf, reg, bit)                                                     \
    (((uint64_t)(leaf) << 32) | ((uint64_t)(subleaf) << 8) | ((reg) << 5) | (bit))
enum { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
#define CPUID_X2APIC       CPUID_FEATURE(1, 0, CPUID_ECX, 21)
#define CPUID_PCID         CPUID_FEATURE(1, 0, CPUID_ECX, 17)
#define CPUID_TSC_DEADLINE CPUID_FEATURE(1, 0, CPUID_ECX, 24)
#define CPUID_XSAVE        CPUID_FEATURE(1, 0, CPUID_ECX, 26)
#define CPUID_OSXSAVE      CPUID_FEATURE(1, 0, CPUID_ECX, 27)
#define CPUID_MTRR         CPUID_FEATURE(1, 0, CPUID_EDX, 12)
#define CPUID_MCA          CPUID_FEATURE(1, 0, CPUID_EDX, 14)
#define CPUID_FSGSBASE     CPUID_FEATURE(7, 0, CPUID_EBX, 0)
#define CPUID_TSC_ADJUST   CPUID_FEATURE(7, 0, CPUID_EBX, 1)
#define CPUID_SMEP         CPUID_FEATURE(7, 0, CPUID_EBX, 7)
#define CPUID_INVPCID      CPUID_FEATURE(7, 0, CPUID_EBX, 10)
#define CPUID_SMAP         CPUID_FEATURE(7, 0, CPUID_EBX, 20)
#define CPUID_UMIP         CPUID_FEATURE(7, 0, CPUID_ECX, 2)
#define CPUID_PKU          CPUID_FEATURE(7, 0, CPUID_ECX, 3)
#define CPUID_LA57         CPUID_FEATURE(7, 0, CPUID_ECX, 16)
#define CPUID_SPEC_CTRL    CPUID_FEATURE(7, 0, CPUID_EDX, 26)
#define CPUID_STIBP        CPUID_FEATURE(7, 0, CPUID_EDX, 27)
#define CPUID_FLUSH_L1D    CPUID_FEATURE(7, 0, CPUID_EDX, 28)
#define CPUID_ARCH_CAPS    CPUID_FEATURE(7, 0, CPUID_EDX, 29)
#define CPUID_SSBD         CPUID_FEATURE(7, 0, CPUID_EDX, 31)
#define CPUID_MWAIT        CPUID_FEATURE(1, 0, CPUID_ECX, 3)
#define CPUID_XSAVES       CPUID_FEATURE(0xd, 1, CPUID_EAX, 3)
#define CPUID_NX           CPUID_FEATURE(0x80000001u, 0, CPUID_EDX, 20)
#define CPUID_SYSCALL      CPUID_FEATURE(0x80000001u, 0, CPUID_EDX, 11)
#define CPUID_GBPAGES      CPUID_FEATURE(0x80000001u, 0, CPUID_EDX, 26)
#define CPUID_RDTSCP       CPUID_FEATURE(0x80000001u, 0, CPUID_EDX, 27)
#define CPUID_LM           CPUID_FEATURE(0x80000001u, 0, CPUID_EDX, 29)
#define CPUID_AMD_IBPB     CPUID_FEATURE(0x80000008u, 0, CPUID_EBX, 12) // AMD's of SPEC_CTRL ...
#define CPUID_AMD_IBRS     CPUID_FEATURE(0x80000008u, 0, CPUID_EBX, 14)
#define CPUID_AMD_STIBP    CPUID_FEATURE(0x80000008u, 0, CPUID_EBX, 15)
#define CPUID_AMD_SSBD     CPUID_FEATURE(0x80000008u, 0, CPUID_EBX, 24)

#define CPUID_DIRECT_LEAVES 0x28

// Entries of one leaf lie in [first, end); end 0: none.
struct cpuid_leaf {
    uint8_t first;
    uint16_t end;
};

// A vCPU's table. entries is the owner's storage, kept in the VMM's order (KVM_GET_CPUID2).
struct guest_cpuid {
    struct kvm_cpuid_entry2 *entries;
    uint32_t count;
    uint32_t max_basic;
    bool redirect; // leaves out of range give the highest basic leaf (all but AMD, Hygon)
    uint8_t physical_bits, linear_bits;
    bool gbpages;
    struct cpuid_leaf basic[CPUID_DIRECT_LEAVES];
    struct cpuid_leaf hypervisor[CPUID_DIRECT_LEAVES]; // 0x40000000..
    struct cpuid_leaf extended[CPUID_DIRECT_LEAVES];   // 0x80000000..
    uint32_t kvm_features; // KVM's feature leaf EAX (wherever its signature is), 0 if none
    uint64_t xcr0_allowed, xss_allowed; // leaf 0xD
    // CR4 and EFER bits the table allows; all ones for an empty table (KVM_SET_SREGS before
    // KVM_SET_CPUID2 is bounded by the host only).
    uint64_t cr4_allowed, efer_allowed;
};

// Checks a table as KVM_SET_CPUID2 does: count, address widths (0, 48 or 57 linear bits).
// 0 or -EINVAL. Duplicates are allowed: the first counts.
int guest_cpuid_check(const struct kvm_cpuid_entry2 *entries, uint32_t count);
// Adopts entries (owner's storage, NULL with count 0) and builds the index.
void guest_cpuid_set(struct guest_cpuid *cpuid, struct kvm_cpuid_entry2 *entries, uint32_t count);

// What makes leaves change while the guest runs.
struct cpuid_dynamic {
    uint64_t cr4, xcr0, xss, apic_base, misc_enable;
    bool mwait_follows; // MONITOR is what MISC_ENABLE bit 18 says
                        // (KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT off)
    bool halts_inside;  // HLT does not exit, so that no kick can end it: no KVM_FEATURE_PV_UNHALT
};
// Recomputes OSXSAVE, APIC, OSPKE, MONITOR and the sizes in leaf 0xD. Call after guest_cpuid_set
// and whenever one of these registers changes, not at a CPUID exit.
void guest_cpuid_update(struct guest_cpuid *cpuid, const struct cpuid_dynamic *dynamic);

// The entry for leaf, subleaf; NULL if there is none.
const struct kvm_cpuid_entry2 *guest_cpuid_find(const struct guest_cpuid *cpuid, uint32_t leaf,
                                                uint32_t subleaf);
// What the CPUID instruction returns (with Intel's rule for leaves out of range).
void guest_cpuid_query(const struct guest_cpuid *cpuid, uint32_t leaf, uint32_t subleaf,
                       struct cpuid_regs *regs);
bool guest_cpuid_has(const struct guest_cpuid *cpuid, uint64_t feature);
// May the guest load XCR0 with value (SDM vol. 1 13.3)?
bool guest_cpuid_xcr0_valid(const struct guest_cpuid *cpuid, uint64_t value);
