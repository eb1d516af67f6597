// SPDX-License-Identifier: BSD-2-Clause
// A vCPU's debug registers, the guest's or those of a debugger in user space (KVM_SET_GUEST_DEBUG);
// shared by the back ends. MOV DR always exits, so the guest's live in struct virt_vcpu.
#pragma once
#include "arch/x86/virt.h"

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

// DR0-3 in force.
const uint64_t *vcpu_breakpoints(const struct virt_vcpu *vcpu);
// DR7 in force as the processor may hold it: GD is emulated, since MOV DR exits before the
// processor looks at it.
uint64_t vcpu_breakpoint_control(const struct virt_vcpu *vcpu);
// Exceptions that must exit, a bit a vector.
uint32_t vcpu_debug_exceptions(const struct virt_vcpu *vcpu);
// Takes TF out of rflags or puts it in, as stepping by the debugger begins, goes on or has ended.
uint64_t vcpu_step_rflags(struct virt_vcpu *vcpu, uint64_t rflags);

enum vcpu_debug_access {
    DEBUG_ACCESS_DONE,
    DEBUG_ACCESS_UNDEFINED,  // #UD
    DEBUG_ACCESS_PROTECTION, // #GP(0)
    DEBUG_ACCESS_DETECTED,   // DR7.GD: #DB with DR6.BD, to the debugger or to the guest
};
// MOV DR (SDM vol. 2): reads register `number` into *value or writes it. After a write the back end
// brings its copies up to date (virt_ops.debug_changed).
enum vcpu_debug_access vcpu_debug_read(const struct virt_vcpu *vcpu, unsigned number, uint64_t cr4,
                                       uint64_t *value);
enum vcpu_debug_access vcpu_debug_write(struct virt_vcpu *vcpu, unsigned number, uint64_t cr4,
                                        uint64_t value);
// A #DB with DR6 bits `hit`: does it belong to the debugger in user space?
bool vcpu_debug_is_ours(const struct virt_vcpu *vcpu, uint64_t hit);
