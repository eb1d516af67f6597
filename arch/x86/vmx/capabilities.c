// SPDX-License-Identifier: BSD-2-Clause
// Reads the VMX capability MSRs (SDM vol. 3 appendix A): one row a control, one message a missing
// feature.
#include "arch/x86/vmx/capabilities.h"
#include "arch/x86/vmx/instructions.h"
#include "core/log.h"
#include "core/string.h"

struct vmx_capabilities vmx;

enum need { WANTED, REQUIRED };

struct control {
    uint8_t word; // enum control_word
    uint8_t need; // enum need
    uint32_t bit;
    const char *missing; // REQUIRED: the message
};

static const struct control controls[] = {
    {WORD_PIN, REQUIRED, PIN_EXTERNAL_INTERRUPT, "external-interrupt exiting is missing"},
    {WORD_PIN, REQUIRED, PIN_NMI, "NMI exiting is missing"},
    {WORD_PIN, REQUIRED, PIN_VIRTUAL_NMI, "virtual NMIs are missing"},
    {WORD_PIN, WANTED, PIN_PREEMPTION_TIMER, NULL},
    {WORD_CPU, REQUIRED, CPU_SECONDARY, "secondary processor-based controls are missing"},
    {WORD_CPU2, REQUIRED, CPU2_EPT, "extended page tables (EPT) are missing"},
    {WORD_CPU2, REQUIRED, CPU2_UNRESTRICTED, "unrestricted guest is missing"},
    {WORD_CPU2, REQUIRED, CPU2_VPID, "virtual-processor identifiers (VPID) are missing"},
    {WORD_CPU, REQUIRED, CPU_TSC_OFFSETTING, "TSC offsetting is missing"},
    {WORD_CPU, REQUIRED, CPU_HLT, "HLT exiting is missing"},
    {WORD_CPU, REQUIRED, CPU_MWAIT, "MWAIT exiting is missing"},
    {WORD_CPU, REQUIRED, CPU_MONITOR, "MONITOR exiting is missing"},
    {WORD_CPU, REQUIRED, CPU_RDPMC, "RDPMC exiting is missing"},
    {WORD_CPU, REQUIRED, CPU_MOV_DR, "MOV-DR exiting is missing"},
    {WORD_CPU, REQUIRED, CPU_UNCONDITIONAL_IO, "unconditional I/O exiting is missing"},
    {WORD_CPU, REQUIRED, CPU_MSR_BITMAPS, "MSR bitmaps are missing"},
    {WORD_CPU, REQUIRED, CPU_TPR_SHADOW, "the TPR shadow is missing"},
    {WORD_CPU2, WANTED, CPU2_WBINVD, NULL},
    {WORD_CPU2, WANTED, CPU2_RDTSCP, NULL},
    {WORD_CPU2, WANTED, CPU2_INVPCID, NULL},
    {WORD_CPU2, WANTED, CPU2_XSAVES, NULL},
    {WORD_CPU2, WANTED, CPU2_PAUSE_LOOP, NULL},
    {WORD_CPU2, WANTED, CPU2_TSC_SCALING, NULL},
    {WORD_EXIT, REQUIRED, EXIT_HOST_64, "a 64-bit host is not supported"},
    {WORD_EXIT, REQUIRED, EXIT_SAVE_DEBUG, "saving debug controls is missing"},
    {WORD_EXIT, REQUIRED, EXIT_ACKNOWLEDGE_INTERRUPT, "acknowledge interrupt on exit is missing"},
    {WORD_EXIT, REQUIRED, EXIT_SAVE_EFER, "saving IA32_EFER is missing"},
    {WORD_EXIT, REQUIRED, EXIT_LOAD_EFER, "loading IA32_EFER on exit is missing"},
    {WORD_EXIT, REQUIRED, EXIT_SAVE_PAT, "saving IA32_PAT is missing"},
    {WORD_EXIT, REQUIRED, EXIT_LOAD_PAT, "loading IA32_PAT on exit is missing"},
    {WORD_EXIT, WANTED, EXIT_SAVE_PREEMPTION_TIMER, NULL}, // goes with PIN_PREEMPTION_TIMER
    {WORD_ENTRY, REQUIRED, ENTRY_LOAD_DEBUG, "loading debug controls is missing"},
    {WORD_ENTRY, REQUIRED, ENTRY_LOAD_EFER, "loading IA32_EFER on entry is missing"},
    {WORD_ENTRY, REQUIRED, ENTRY_LOAD_PAT, "loading IA32_PAT on entry is missing"},
};

// Set by "default1" (SDM vol. 3 A.2) where the TRUE MSRs are missing, and never wanted here.
#define CPU_NEVER (CPU_CR3_LOAD | CPU_CR3_STORE | CPU_INVLPG)

struct ept_bit {
    uint64_t bits;
    const char *missing;
};

// IA32_VMX_EPT_VPID_CAP, SDM vol. 3 A.10.
#define EPT_LEVELS_4       (1ull << 6)
#define EPT_WRITE_BACK     (1ull << 14)
#define EPT_2M             (1ull << 16)
#define EPT_1G             (1ull << 17)
#define EPT_INVEPT         (1ull << 20)
#define EPT_ACCESSED_DIRTY (1ull << 21)
#define EPT_INVEPT_SINGLE  (1ull << 25)
#define EPT_INVVPID        (1ull << 32)
#define EPT_INVVPID_SINGLE (1ull << 41)
#define MISC_STORE_LMA     (1ull << 5)
#define BASIC_TRUE         (1ull << 55)
#define BASIC_WRITE_BACK   6u

static const struct ept_bit ept_bits[] = {
    {EPT_LEVELS_4, "EPT lacks four-level walks"},
    {EPT_WRITE_BACK, "EPT tables cannot be write-back"},
    {EPT_2M, "EPT lacks 2 MiB pages"},
    {EPT_INVEPT, "INVEPT is missing"},
    {EPT_INVEPT_SINGLE, "INVEPT lacks the single-context type"},
    {EPT_INVVPID, "INVVPID is missing"},
    {EPT_INVVPID_SINGLE, "INVVPID lacks the single-context type"},
};

static const char *read_controls(struct vmx_capabilities *c, capability_reader read,
                                 bool true_msrs) {
    const uint32_t index[WORD_COUNT] = {
        [WORD_PIN] = true_msrs ? MSR_VMX_TRUE_PIN : MSR_VMX_PIN,
        [WORD_CPU] = true_msrs ? MSR_VMX_TRUE_CPU : MSR_VMX_CPU,
        [WORD_CPU2] = MSR_VMX_CPU2,
        [WORD_EXIT] = true_msrs ? MSR_VMX_TRUE_EXIT : MSR_VMX_EXIT,
        [WORD_ENTRY] = true_msrs ? MSR_VMX_TRUE_ENTRY : MSR_VMX_ENTRY,
    };
    for (unsigned word = 0; word < WORD_COUNT; word++) {
        // IA32_VMX_PROCBASED_CTLS2 exists only with the secondary controls.
        if (word == WORD_CPU2 && !(c->allowed[WORD_CPU] & CPU_SECONDARY))
            continue;
        uint64_t value = read(index[word]);
        c->control[word] = (uint32_t)value;
        c->allowed[word] = (uint32_t)(value >> 32);
    }
    for (size_t i = 0; i < sizeof(controls) / sizeof(controls[0]); i++) {
        const struct control *row = &controls[i];
        if (c->allowed[row->word] & row->bit)
            c->control[row->word] |= row->bit;
        else if (row->need == REQUIRED)
            return row->missing;
    }
    // CR3 and INVLPG exits are among the bits that pre-2008 processors force to 1; those have no
    // EPT.
    return c->control[WORD_CPU] & CPU_NEVER ? "CR3 accesses cannot be left to the guest" : NULL;
}

const char *vmx_capabilities_read(struct vmx_capabilities *c, capability_reader read) {
    memset(c, 0, sizeof(*c));
    uint64_t basic = read(MSR_VMX_BASIC);
    c->revision = (uint32_t)basic & 0x7fffffff;
    if ((basic >> 50 & 0xf) != BASIC_WRITE_BACK)
        return "the VMCS cannot be kept in write-back memory";
    const char *missing = read_controls(c, read, basic & BASIC_TRUE);
    if (missing)
        return missing;
    uint64_t misc = read(MSR_VMX_MISC);
    c->preemption_timer_shift = misc & 31;
    if (!(misc & MISC_STORE_LMA))
        return "VM exits do not store EFER.LMA";

    uint64_t ept = read(MSR_VMX_EPT_VPID);
    for (size_t i = 0; i < sizeof(ept_bits) / sizeof(ept_bits[0]); i++)
        if (!(ept & ept_bits[i].bits))
            return ept_bits[i].missing;
    c->ept_1g = ept & EPT_1G;
    c->ept_accessed_dirty = ept & EPT_ACCESSED_DIRTY;
    c->write_log = c->ept_accessed_dirty && (c->allowed[WORD_CPU2] & CPU2_PML);
    // EPT pointer, SDM vol. 3 table 25-9: memory type 6, page-walk length 4, bit 6 enables A/D.
    c->ept_pointer_bits = 6 | 3 << 3 | (c->ept_accessed_dirty ? 1 << 6 : 0);

    c->cr0_fixed0 = read(MSR_VMX_CR0_FIXED0);
    c->cr0_fixed1 = read(MSR_VMX_CR0_FIXED1);
    c->cr4_fixed0 = read(MSR_VMX_CR4_FIXED0);
    c->cr4_fixed1 = read(MSR_VMX_CR4_FIXED1);
    c->preemption_timer = c->allowed[WORD_PIN] & PIN_PREEMPTION_TIMER;
    c->monitor_trap = c->allowed[WORD_CPU] & CPU_MONITOR_TRAP;
    c->pause_loop = c->control[WORD_CPU2] & CPU2_PAUSE_LOOP;
    c->tsc_scaling = c->control[WORD_CPU2] & CPU2_TSC_SCALING;
    c->rdtscp = c->control[WORD_CPU2] & CPU2_RDTSCP;
    c->invpcid = c->control[WORD_CPU2] & CPU2_INVPCID;
    c->xsaves = c->control[WORD_CPU2] & CPU2_XSAVES;
    return NULL;
}

void vmx_capabilities_describe(const struct vmx_capabilities *c, char *out, size_t size) {
    format_string(out, size, "EPT 4K/2M%s%s%s, VPID, unrestricted guest, TPR shadow%s%s%s%s%s%s",
                  c->ept_1g ? "/1G" : "", c->ept_accessed_dirty ? " A/D" : "",
                  c->write_log ? ", PML" : "", c->preemption_timer ? ", preemption timer" : "",
                  c->monitor_trap ? ", MTF" : "", c->pause_loop ? ", PAUSE-loop exiting" : "",
                  c->tsc_scaling ? ", TSC scaling" : "", c->invpcid ? ", INVPCID" : "",
                  c->xsaves ? ", XSAVES" : "");
}
