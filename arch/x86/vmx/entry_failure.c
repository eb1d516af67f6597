// SPDX-License-Identifier: BSD-2-Clause
// A VM entry the processor refused: the error by name, and the fields that decide beside the
// guest's registers (SDM vol. 3 31.4, 27.8).
#include <asm/vmx.h>
#include "arch/x86/vmx/vcpu.h"

// Of VMLAUNCH and VMRESUME (SDM vol. 3 table 31-1).
static const char *instruction_error(uint32_t number) {
    switch (number) {
    case 4:
        return "VMLAUNCH with non-clear VMCS";
    case 5:
        return "VMRESUME with non-launched VMCS";
    case 7:
        return "invalid control field";
    case 8:
        return "invalid host-state field";
    case 26:
        return "events blocked by MOV SS";
    default:
        return "instruction error";
    }
}

static const char *exit_reason(uint16_t number) {
    switch (number) {
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

static const struct entry_field fields[] = {
    {"CR0 in force", VMCS_GUEST_CR0},
    {"CR4 in force", VMCS_GUEST_CR4},
    {"PAT", VMCS_GUEST_PAT},
    {"DR7", VMCS_GUEST_DR7},
    {"DEBUGCTL", VMCS_GUEST_DEBUGCTL},
    {"pending debug", VMCS_GUEST_PENDING_DEBUG},
    {"interruptibility", VMCS_GUEST_INTERRUPTIBILITY},
    {"activity", VMCS_GUEST_ACTIVITY},
    {"event", VMCS_ENTRY_INTERRUPTION},
    {"its error", VMCS_ENTRY_EXCEPTION_ERROR},
    {"its instruction's length", VMCS_ENTRY_INSTRUCTION_LENGTH},
    {"cut-off event", VMCS_IDT_VECTORING},
    {"TPR threshold", VMCS_TPR_THRESHOLD},
    {"link", VMCS_LINK_POINTER},
    {"qualification", VMCS_EXIT_QUALIFICATION},
    {"pin controls", VMCS_PIN_CONTROLS},
    {"CPU controls", VMCS_CPU_CONTROLS},
    {"secondary", VMCS_CPU_CONTROLS_2},
    {"exit controls", VMCS_EXIT_CONTROLS},
    {"entry controls", VMCS_ENTRY_CONTROLS},
    {"VPID", VMCS_VPID},
    {"EPT", VMCS_EPT_POINTER},
    {"PDPTE0", VMCS_GUEST_PDPTE0},
    {"PDPTE1", VMCS_GUEST_PDPTE0 + 2},
    {"PDPTE2", VMCS_GUEST_PDPTE0 + 4},
    {"PDPTE3", VMCS_GUEST_PDPTE0 + 6},
    {"host CR3", VMCS_HOST_CR3},
    {"host RIP", VMCS_HOST_RIP},
    {"host RSP", VMCS_HOST_RSP},
};

static uint64_t read_field(struct virt_vcpu *vcpu, const struct entry_field *field) {
    return vmread(field->where);
}

void vmx_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, bool rejected,
                      uint32_t reason) {
    const char *words = rejected ? instruction_error(reason) : exit_reason((uint16_t)reason);
    vcpu_entry_failed(vcpu, exit, reason, words, fields, sizeof(fields) / sizeof(fields[0]),
                      read_field);
}
