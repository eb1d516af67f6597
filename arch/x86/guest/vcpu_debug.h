// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's debug registers, the guest's or those of a debugger in user space (KVM_SET_GUEST_DEBUG);
// shared by the back ends. MOV DR always exits, so the guest's live in struct virt_vcpu.
#pragma once
#include "arch/x86/guest/vcpu_exit.h"

#define DR7_ENABLES  0xffull
#define DR7_FIXED    0x400ull
#define DR7_GD       (1ull << 13)
#define DR6_BD       (1ull << 13)
#define DR6_BS       (1ull << 14)
#define DR6_FIXED    0xffff0ff0ull
#define DR6_VOLATILE 0xe00full // B0-B3, BD, BS, BT

#define EXCEPTION_BIT(vector) (1u << (vector))
#define VECTOR_BP             3
#define VECTOR_MC             18

static inline bool vcpu_debugging(const struct virt_vcpu *vcpu, uint32_t flag) {
    return (vcpu->guest_debug.control & KVM_GUESTDBG_ENABLE) && (vcpu->guest_debug.control & flag);
}

// Loads DR0-3 in force, and clears DR6. Returns the four.
const uint64_t *vcpu_load_breakpoints(const struct virt_vcpu *vcpu);
// DR7 in force as the processor may hold it: GD is emulated, since MOV DR exits before the
// processor looks at it. Says in vcpu->debug_registers whether an entry must load DR0-3.
uint64_t vcpu_breakpoint_control(struct virt_vcpu *vcpu);
// Exceptions that must exit, a bit a vector.
uint32_t vcpu_debug_exceptions(const struct virt_vcpu *vcpu);
// Puts TF into RFLAGS or takes it out, as stepping by the debugger begins, goes on or has ended.
void vcpu_step(struct virt_vcpu *vcpu);

// A #DB with DR6 bits `hit`: does it belong to the debugger in user space?
bool vcpu_debug_is_ours(const struct virt_vcpu *vcpu, uint64_t hit);
// VIRT_EXIT_DEBUG.
enum exit_action vcpu_to_debugger(struct virt_vcpu *vcpu, struct virt_exit *exit,
                                  uint32_t exception, uint64_t dr6);
// #DB with DR6 bits `hit`: to the debugger, or into the guest.
enum exit_action vcpu_debug_exception(struct virt_vcpu *vcpu, struct virt_exit *exit, uint64_t hit);
// MOV DR (SDM vol. 2).
enum exit_action vcpu_move_debug(struct virt_vcpu *vcpu, struct virt_exit *exit, bool write,
                                 unsigned number, unsigned gpr);
