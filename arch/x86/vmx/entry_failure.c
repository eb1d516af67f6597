// SPDX-License-Identifier: BSD-2-Clause
// A VM entry the processor refused: the error by name, and every field that decides (SDM vol.
// 3 31.4, 27.8).
#include <asm/vmx.h>
#include "arch/x86/vmx/vcpu.h"
#include "core/log.h"

static const char *const instruction_errors[] = {
    [1] = "VMCALL executed in VMX root operation",
    [2] = "VMCLEAR with invalid physical address",
    [3] = "VMCLEAR with VMXON pointer",
    [4] = "VMLAUNCH with non-clear VMCS",
    [5] = "VMRESUME with non-launched VMCS",
    [6] = "VMRESUME after VMXOFF",
    [7] = "VM entry with invalid control field(s)",
    [8] = "VM entry with invalid host-state field(s)",
    [9] = "VMPTRLD with invalid physical address",
    [10] = "VMPTRLD with VMXON pointer",
    [11] = "VMPTRLD with incorrect VMCS revision identifier",
    [12] = "VMREAD/VMWRITE from/to unsupported VMCS component",
    [13] = "VMWRITE to read-only VMCS component",
    [15] = "VMXON executed in VMX root operation",
    [16] = "VM entry with invalid executive-VMCS pointer",
    [17] = "VM entry with non-launched executive VMCS",
    [18] = "VM entry with executive-VMCS pointer not VMXON pointer",
    [19] = "VMCALL with non-clear VMCS",
    [20] = "VMCALL with invalid VM-exit control fields",
    [22] = "VMCALL with incorrect MSEG revision identifier",
    [23] = "VMXOFF under dual-monitor treatment",
    [24] = "VMCALL with invalid SMM-monitor features",
    [25] = "VM entry with invalid VM-execution control fields in executive VMCS",
    [26] = "VM entry with events blocked by MOV SS",
    [28] = "invalid operand to INVEPT/INVVPID",
};

#define INSTRUCTION_ERRORS (sizeof(instruction_errors) / sizeof(instruction_errors[0]))

static const char *error_name(bool rejected, uint32_t reason) {
    if (rejected)
        return reason < INSTRUCTION_ERRORS && instruction_errors[reason]
                   ? instruction_errors[reason]
                   : "unknown instruction error";
    switch ((uint16_t)reason) {
    case EXIT_REASON_INVALID_STATE:
        return "invalid guest state";
    case EXIT_REASON_MSR_LOAD_FAIL:
        return "MSR loading failed";
    case EXIT_REASON_MCE_DURING_VMENTRY:
        return "machine check during the entry";
    default:
        return "unknown reason";
    }
}

struct named_field {
    const char *name;
    uint16_t field;
};

// Four a line; EFER, PAT and debug controls with them, since the entry checks each.
static const struct named_field fields[] = {
    {"RIP", VMCS_GUEST_RIP},
    {"RSP", VMCS_GUEST_RSP},
    {"RFLAGS", VMCS_GUEST_RFLAGS},
    {"EFER", VMCS_GUEST_EFER},
    {"CR0", VMCS_GUEST_CR0},
    {"CR3", VMCS_GUEST_CR3},
    {"CR4", VMCS_GUEST_CR4},
    {"PAT", VMCS_GUEST_PAT},
    {"CR0 mask", VMCS_CR0_MASK},
    {"CR0 shadow", VMCS_CR0_SHADOW},
    {"CR4 mask", VMCS_CR4_MASK},
    {"CR4 shadow", VMCS_CR4_SHADOW},
    {"DR7", VMCS_GUEST_DR7},
    {"DEBUGCTL", VMCS_GUEST_DEBUGCTL},
    {"pending debug", VMCS_GUEST_PENDING_DEBUG},
    {"exceptions", VMCS_EXCEPTION_BITMAP},
    {"interruptibility", VMCS_GUEST_INTERRUPTIBILITY},
    {"activity", VMCS_GUEST_ACTIVITY},
    {"entry event", VMCS_ENTRY_INTERRUPTION},
    {"its error", VMCS_ENTRY_EXCEPTION_ERROR},
    {"event length", VMCS_ENTRY_INSTRUCTION_LENGTH},
    {"TPR threshold", VMCS_TPR_THRESHOLD},
    {"link", VMCS_LINK_POINTER},
    {"qualification", VMCS_EXIT_QUALIFICATION},
    {"pin", VMCS_PIN_CONTROLS},
    {"cpu", VMCS_CPU_CONTROLS},
    {"cpu2", VMCS_CPU_CONTROLS_2},
    {"VPID", VMCS_VPID},
    {"exit", VMCS_EXIT_CONTROLS},
    {"entry", VMCS_ENTRY_CONTROLS},
    {"EPT", VMCS_EPT_POINTER},
    {"MSR bitmap", VMCS_MSR_BITMAP},
    {"GDT base", VMCS_GUEST_GDTR_BASE},
    {"limit", VMCS_GUEST_GDTR_LIMIT},
    {"IDT base", VMCS_GUEST_IDTR_BASE},
    {"limit", VMCS_GUEST_IDTR_LIMIT},
    {"PDPTE0", VMCS_GUEST_PDPTE0},
    {"1", VMCS_GUEST_PDPTE0 + 2},
    {"2", VMCS_GUEST_PDPTE0 + 4},
    {"3", VMCS_GUEST_PDPTE0 + 6},
    {"SYSENTER CS", VMCS_GUEST_SYSENTER_CS},
    {"ESP", VMCS_GUEST_SYSENTER_ESP},
    {"EIP", VMCS_GUEST_SYSENTER_EIP},
    {"vectoring", VMCS_IDT_VECTORING},
    {"host CR0", VMCS_HOST_CR0},
    {"host CR3", VMCS_HOST_CR3},
    {"host CR4", VMCS_HOST_CR4},
    {"host EFER", VMCS_HOST_EFER},
    {"host RIP", VMCS_HOST_RIP},
    {"host RSP", VMCS_HOST_RSP},
    {"host TR base", VMCS_HOST_TR_BASE},
    {"host GS base", VMCS_HOST_GS_BASE},
};
#define FIELDS (sizeof(fields) / sizeof(fields[0]))
_Static_assert(FIELDS % 4 == 0, "whole lines");

static void log_segments(void) {
    static const char names[8][5] = {"ES", "CS", "SS", "DS", "FS", "GS", "LDTR", "TR"};
    for (unsigned i = 0; i < 8; i++)
        log_line("  %-4s selector %04lx base %016lx limit %08lx rights %05lx", names[i],
                 vmread(VMCS_GUEST_ES_SELECTOR + 2 * i), vmread(VMCS_GUEST_ES_BASE + 2 * i),
                 vmread(VMCS_GUEST_ES_LIMIT + 2 * i), vmread(VMCS_GUEST_ES_RIGHTS + 2 * i));
}

void vmx_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, bool rejected,
                      uint32_t reason) {
    log_line("VT-x: entry of vCPU %u failed: %s (%s %u)", vcpu->id, error_name(rejected, reason),
             rejected ? "instruction error" : "exit reason", rejected ? reason : reason & 0xffff);
    for (unsigned i = 0; i < FIELDS; i += 4)
        log_line("  %s %lx  %s %lx  %s %lx  %s %lx", fields[i].name, vmread(fields[i].field),
                 fields[i + 1].name, vmread(fields[i + 1].field), fields[i + 2].name,
                 vmread(fields[i + 2].field), fields[i + 3].name, vmread(fields[i + 3].field));
    log_segments();
    exit->kind = VIRT_EXIT_FAIL_ENTRY;
    exit->fail_reason = reason;
}
