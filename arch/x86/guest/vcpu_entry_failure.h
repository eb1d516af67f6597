// SPDX-License-Identifier: BSD-2-Clause
// A VM entry that the processor refused, in words for the log.
#pragma once
#include "arch/x86/virt.h"

// A value of the back end's control block that decides over an entry.
struct entry_field {
    const char *name;
    uint16_t where; // as read takes it
};

// Logs the reason, the guest's registers and the fields; fills exit with VIRT_EXIT_FAIL_ENTRY.
void vcpu_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t code,
                       const char *reason, const struct entry_field *fields, size_t count,
                       uint64_t (*read)(struct virt_vcpu *vcpu, const struct entry_field *field));
