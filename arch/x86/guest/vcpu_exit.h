// SPDX-License-Identifier: BSD-2-Clause
// Exits that mean the same on both vendors' processors: handlers for the back ends' tables.
#pragma once
#include "arch/x86/virt.h"

// What the run loop does after a handler; SKIP: the instruction that exited is done.
enum exit_action { EXIT_RESUME = 0, EXIT_SKIP = 1, EXIT_LEAVE = 2, EXIT_SKIP_LEAVE = 3 };
typedef enum exit_action (*exit_handler)(struct virt_vcpu *vcpu, struct virt_exit *exit);

#define HANDLER(name) enum exit_action name(struct virt_vcpu *vcpu, struct virt_exit *exit)

HANDLER(exit_cpuid);
HANDLER(exit_msr_read);
HANDLER(exit_msr_write);
HANDLER(exit_halt);
HANDLER(exit_shutdown);
HANDLER(exit_hypercall);
HANDLER(exit_pause);
HANDLER(exit_interrupt_window); // the next entry closes it or opens it again
HANDLER(exit_recheck);          // what blocks events has changed
HANDLER(exit_xsetbv);
HANDLER(exit_nothing);        // the instruction has no effect here
HANDLER(exit_mwait);          // and MONITOR
HANDLER(exit_protection);     // #GP(0)
HANDLER(exit_undefined);      // #UD
HANDLER(exit_invalid_opcode); // the guest's own #UD, see VIRT_EXIT_UNDEFINED
HANDLER(exit_breakpoint);     // INT3 while user space debugs
HANDLER(exit_ignored);        // the host has taken what ended the guest

// VIRT_EXIT_INTERNAL_ERROR with two words.
enum exit_action exit_internal_error(struct virt_exit *exit, uint32_t suberror, uint64_t first,
                                     uint64_t second);
// A hardware task switch: nothing emulates it.
static inline enum exit_action exit_task_switch_to(struct virt_exit *exit, uint64_t reason,
                                                   uint64_t information) {
    return exit_internal_error(exit, KVM_INTERNAL_ERROR_EMULATION, reason, information);
}
