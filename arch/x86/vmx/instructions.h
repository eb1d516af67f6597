// SPDX-License-Identifier: BSD-2-Clause
// The VMX instructions (SDM vol. 3 ch. 31) and the privileged ones only the back end uses.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/cpu/instruction.h"
#include "arch/x86/vmx/vmcs_fields.h"

static inline uint64_t vmread(enum vmcs_field field) {
    uint64_t value;
    __asm__ volatile("vmread %1, %0" : "=r"(value) : "r"((uint64_t)field) : "cc");
    return value;
}

// A VMWRITE that fails is a bug of ours: the field does not exist or no VMCS is current.
_Noreturn void vmwrite_failed(enum vmcs_field field, uint64_t value);

static inline void vmwrite(enum vmcs_field field, uint64_t value) {
    __asm__ goto("vmwrite %1, %0\n\t"
                 "jbe %l2"
                 :
                 : "r"((uint64_t)field), "r"(value)
                 : "cc", "memory"
                 : failed);
    return;
failed:
    vmwrite_failed(field, value);
}

// Each returns whether the instruction succeeded (CF = ZF = 0).
static inline bool vmx_on(uint64_t region) {
    bool ok;
    __asm__ volatile("vmxon %1" : "=@cca"(ok) : "m"(region) : "memory");
    return ok;
}

static inline bool vmx_clear(uint64_t vmcs) {
    bool ok;
    __asm__ volatile("vmclear %1" : "=@cca"(ok) : "m"(vmcs) : "memory");
    return ok;
}

static inline bool vmx_load(uint64_t vmcs) {
    bool ok;
    __asm__ volatile("vmptrld %1" : "=@cca"(ok) : "m"(vmcs) : "memory");
    return ok;
}

enum invalidation { INVALIDATE_ONE = 1, INVALIDATE_ALL = 2 };

static inline bool vmx_invept(enum invalidation type, uint64_t ept_pointer) {
    struct {
        uint64_t pointer, reserved;
    } descriptor = {ept_pointer, 0};
    bool ok;
    __asm__ volatile("invept %1, %2"
                     : "=@cca"(ok)
                     : "m"(descriptor), "r"((uint64_t)type)
                     : "memory");
    return ok;
}

static inline bool vmx_invvpid(enum invalidation type, uint16_t vpid) {
    struct {
        uint64_t vpid, linear;
    } descriptor = {vpid, 0};
    bool ok;
    __asm__ volatile("invvpid %1, %2"
                     : "=@cca"(ok)
                     : "m"(descriptor), "r"((uint64_t)type)
                     : "memory");
    return ok;
}

// -- msr_index.c --

enum vmx_msr_index {
    MSR_TSC = 0x10,
    MSR_FEATURE_CONTROL = 0x3a,
    MSR_VMX_BASIC = 0x480,
    MSR_VMX_PIN = 0x481,
    MSR_VMX_CPU = 0x482,
    MSR_VMX_EXIT = 0x483,
    MSR_VMX_ENTRY = 0x484,
    MSR_VMX_MISC = 0x485,
    MSR_VMX_CR0_FIXED0 = 0x486,
    MSR_VMX_CR0_FIXED1 = 0x487,
    MSR_VMX_CR4_FIXED0 = 0x488,
    MSR_VMX_CR4_FIXED1 = 0x489,
    MSR_VMX_CPU2 = 0x48b,
    MSR_VMX_EPT_VPID = 0x48c,
    MSR_VMX_TRUE_PIN = 0x48d,
    MSR_VMX_TRUE_CPU = 0x48e,
    MSR_VMX_TRUE_EXIT = 0x48f,
    MSR_VMX_TRUE_ENTRY = 0x490,
};
