// SPDX-License-Identifier: BSD-2-Clause
// Feature check and control registers.
#include "arch/x86/cpu/cpu_features.h"
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/cpu/segment.h"
#include "core/log.h"
#include "core/string.h"

struct cpu_features cpu_features;

extern void system_call_entry(void);

enum cpuid_register { EAX, EBX, ECX, EDX };

struct feature {
    uint32_t leaf;
    uint8_t reg, bit;
    bool *present;     // where to note it
    const char *panic; // indispensable: what is missing and what to do
    const char *warning;
};

static const struct feature features[] = {
    {0x80000001, EDX, 20, NULL,
     "the CPU does not offer NX: enable 'execute disable' (XD, NX) in the firmware's setup", NULL},
    {0x80000001, EDX, 11, NULL,
     "the CPU does not offer SYSCALL: Ashlar needs a 64-bit CPU of 2005 or later", NULL},
    {1, EDX, 9, NULL, "the CPU does not offer a local APIC: enable it in the firmware's setup",
     NULL},
    {1, EDX, 24, NULL, "the CPU does not offer FXSAVE: Ashlar needs a 64-bit CPU of 2005 or later",
     NULL},
    {1, ECX, 26, NULL,
     "the CPU does not offer XSAVE: Ashlar needs a CPU of 2011 (Sandy Bridge, Bulldozer) or later",
     NULL},
    {0x80000007, EDX, 8, &cpu_features.invariant_tsc, NULL,
     "the CPU does not promise an invariant TSC; time may drift in power-saving states"},
    {7, EBX, 7, &cpu_features.smep, NULL, NULL},
    {7, EBX, 20, &cpu_features.smap, NULL, NULL},
    {7, ECX, 2, &cpu_features.umip, NULL, NULL},
    {7, EBX, 0, &cpu_features.fsgsbase, NULL, NULL},
    {1, ECX, 21, &cpu_features.x2apic, NULL, NULL},
    {1, ECX, 24, &cpu_features.tsc_deadline, NULL, NULL},
    {1, ECX, 31, &cpu_features.hypervisor, NULL, NULL},
    {0x80000001, EDX, 27, &cpu_features.rdtscp, NULL, NULL},
};

static bool feature_present(const struct feature *feature) {
    if (read_cpuid(feature->leaf & 0x80000000, 0).eax < feature->leaf)
        return false;
    struct cpuid_regs r = read_cpuid(feature->leaf, 0);
    const uint32_t registers[] = {r.eax, r.ebx, r.ecx, r.edx};
    return registers[feature->reg] >> feature->bit & 1;
}

void cpu_features_check(void) {
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        const struct feature *feature = &features[i];
        bool present = feature_present(feature);
        if (feature->present)
            *feature->present = present;
        if (!present && feature->panic)
            panic("%s", feature->panic);
        if (!present && feature->warning)
            log_line("warning: %s", feature->warning);
    }
    cpu_features.xsaveopt = read_cpuid(0xd, 1).eax & 1;
}

struct smap_site {
    uint8_t *place;
    uint32_t instruction; // three bytes
    uint32_t reserved;
};

static void patch_sites(const struct smap_site *site) {
    for (; site->place; site++)
        memcpy(site->place, &site->instruction, 3);
}

void cpu_features_patch(void) {
    extern const struct smap_site trap_smap_sites[], user_access_smap_sites[];
    if (!cpu_features.smap)
        return;
    uint64_t cr0 = read_cr0();
    write_cr0(cr0 & ~(uint64_t)CR0_WP);
    patch_sites(trap_smap_sites);
    patch_sites(user_access_smap_sites);
    write_cr0(cr0);
}

unsigned long cpu_control_cr4(void) {
    const struct cpu_features *f = &cpu_features;
    return CR4_DE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT |
           (f->smep ? CR4_SMEP : 0) | (f->smap ? CR4_SMAP : 0) | (f->umip ? CR4_UMIP : 0) |
           (f->fsgsbase ? CR4_FSGSBASE : 0) | CR4_OSXSAVE;
}

// Entry 0 WB, 1 WC, 2 UC-, 3 UC, and the same again (SDM 3A 12.12).
#define PAT_VALUE 0x0007010600070106ull

void cpu_control_init(void) {
    write_cr0((read_cr0() | CR0_MP | CR0_NE | CR0_WP | CR0_AM) &
              ~(uint64_t)(CR0_EM | CR0_TS | CR0_NW | CR0_CD));
    // PGE off and on again flushes what the loader's tables left, global entries too (SDM
    // 3A 4.10.4.1).
    write_cr4(cpu_control_cr4() & ~(uint64_t)CR4_PGE);
    write_msr(MSR_PAT, PAT_VALUE);
    write_cr4(cpu_control_cr4());
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SCE | EFER_NXE);
    write_msr(MSR_STAR, (uint64_t)SEGMENT_USER_CODE_32 << 48 | (uint64_t)SEGMENT_KERNEL_CODE << 32);
    write_msr(MSR_LSTAR, (uint64_t)system_call_entry);
    // IF, TF, DF, NT, AC, RF, IOPL and the arithmetic flags off at the entry.
    write_msr(MSR_SYSCALL_MASK, 0x257fd5);
}
