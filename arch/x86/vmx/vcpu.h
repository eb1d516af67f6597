// SPDX-License-Identifier: BSD-2-Clause
// A vCPU under VT-x: its VMCS and what this code remembers of the VMCS to save reads and writes.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/guest/decoder.h"
#include "arch/x86/guest/vcpu_exit.h"
#include "arch/x86/vmx/capabilities.h"
#include "arch/x86/vmx/instructions.h"

// SYSCALL's MSRs, loaded at the first entry and left loaded until the CPU goes to user mode, runs
// another vCPU, or the VMCS moves to another CPU: a CPU that has them loaded has the VMCS too.
// SWAPGS changes KERNEL_GS_BASE without an exit. In enum backend_register's order.
enum lazy_msr {
    LAZY_KERNEL_GS_BASE,
    LAZY_STAR,
    LAZY_LSTAR,
    LAZY_SYSCALL_MASK,
    LAZY_TSC_AUX,
    LAZY_CSTAR, // never loaded: Intel has no SYSCALL in compatibility mode
    LAZY_COUNT
};

struct vmx_vcpu {
    struct virt_vcpu *vcpu;
    uint64_t vmcs;     // physical address
    uint64_t host_rsp; // what the VMCS holds, so that it is written only when it changes
    uint64_t host_cr3, host_fs_base;
    struct cpu *cpu;      // where the VMCS is active (maybe cached in the processor); NULL: nowhere
    struct cpu *host_cpu; // whose descriptor tables and GS base are in the host state
    bool launched;
    // Work after an exit; handle_exit tests both at once.
    union {
        struct {
            bool injected;   // the last entry injected an event
            bool log_writes; // page-modification logging is on
        };
        uint16_t after_exit;
    };
    uint64_t write_log;                   // physical address of its buffer; 0: none
    bool syscall_enabled, syscall_loaded; // EFER.SCE; STAR, LSTAR and the mask are in the CPU
    uint16_t vpid;
    uint32_t cpu_controls;
    uint32_t tpr_threshold;
    uint64_t lazy[LAZY_COUNT];
};

static inline struct vmx_vcpu *vmx_of(const struct virt_vcpu *vcpu) {
    return vcpu->backend;
}

// -- vmcs.c --
// Makes the vCPU's VMCS current on this CPU, clearing it on another if need be. No lock held.
void vmcs_switch(struct vmx_vcpu *v);
void vmcs_leave_cpu(void); // virt_leave_cpu
static inline void vmcs_use(struct vmx_vcpu *v) {
    if (__builtin_expect(this_cpu()->control_block != v, 0))
        vmcs_switch(v);
}
// Allocates VMCS and VPID, writes controls and host state. 0 or -ENOMEM.
int vmcs_create(struct virt_vcpu *vcpu);
void vmcs_destroy(struct virt_vcpu *vcpu);
// Brings the host state up to date with this CPU. VMCS current.
void vmcs_host_cpu(struct vmx_vcpu *v, struct cpu *cpu);
// Until the guest has run for that long, from its next entry on.
void vmcs_start_preemption_timer(void);
void vmcs_set_cpu_controls(struct vmx_vcpu *v, uint32_t set, uint32_t clear);

// -- write_log.c --
int vmx_write_log_create(struct vmx_vcpu *v); // 0 or -ENOMEM
void vmx_write_log_destroy(struct vmx_vcpu *v);
void vmx_log_writes(struct virt_vcpu *vcpu, bool on);
// Reports and empties what the processor has logged. VMCS current.
void vmx_write_log_drain(struct virt_vcpu *vcpu, struct vmx_vcpu *v);

// -- vpid.c --
uint16_t vpid_alloc(void); // 0: none left
void vpid_free(uint16_t vpid);

// -- msr_switch.c --
int vmx_msr_init(void);
extern uint64_t vmx_msr_bitmap,
    vmx_msr_bitmap_all;      // physical addresses: ours, and one that intercepts everything
void vmx_msr_cpu_init(void); // notes this CPU's own values
void vmx_msrs_load(struct virt_vcpu *vcpu, struct cpu *cpu);
void vmx_user_return(void);
// EFER.SCE was written.
void vmx_syscall_enabled(struct virt_vcpu *vcpu, bool enabled);
uint64_t vmx_lazy_get(struct virt_vcpu *vcpu, enum lazy_msr which);
void vmx_lazy_set(struct virt_vcpu *vcpu, enum lazy_msr which, uint64_t value);

// -- registers.c --
uint64_t vmx_get(struct virt_vcpu *vcpu, enum backend_register which);
void vmx_get_state(struct virt_vcpu *vcpu, struct virt_state *state);
void vmx_set(struct virt_vcpu *vcpu, enum backend_register which, uint64_t value);
void vmx_get_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     struct kvm_segment *segment);
void vmx_set_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     const struct kvm_segment *segment);
// Past the instruction that exited (VMCS current). The second half is for what seldom is: RIP
// crosses 4 GiB, an interrupt shadow ends, a single step is due.
void vmx_skip_slow(struct virt_vcpu *vcpu, uint64_t rip, uint64_t next, uint64_t interruptibility,
                   uint64_t rflags);
static inline void vmx_skip(struct virt_vcpu *vcpu) {
    uint64_t rip = vmread(VMCS_GUEST_RIP), next = rip + vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
    uint64_t interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    bool special = (rip ^ next) >> 32 || (interruptibility & (BLOCKING_STI | BLOCKING_MOV_SS)) ||
                   (rflags & RFLAGS_TF);
    if (__builtin_expect(special, 0))
        vmx_skip_slow(vcpu, rip, next, interruptibility, rflags);
    else
        vmwrite(VMCS_GUEST_RIP, next);
}

// -- control_registers.c --
uint64_t vmx_get_cr0(void);
uint64_t vmx_get_cr4(void);
void vmx_write_cr0(struct virt_vcpu *vcpu, uint64_t cr0);
void vmx_write_cr4(struct virt_vcpu *vcpu, uint64_t cr4);
void vmx_write_efer(struct virt_vcpu *vcpu, uint64_t efer);

// -- events.c --
// After an exit that followed an injection or can cut off a delivery (SDM vol. 3 28.2.4:
// exceptions, stage-2 faults, task switches): what was injected is delivered, or waits for its
// second try.
void vmx_events_exit(struct virt_vcpu *vcpu);
// Before an entry: injects, opens the windows that are needed.
void vmx_events_entry(struct virt_vcpu *vcpu, struct vmx_vcpu *v);

// -- run.c, exit_table.c --
int vmx_run(struct virt_vcpu *vcpu, struct virt_exit *exit);
#define EXIT_ROWS 76
extern const exit_handler vmx_exit_table[EXIT_ROWS]; // NULL: unexpected

// -- entry_failure.c --
// reason: the exit reason, or the instruction error (rejected: VMLAUNCH/VMRESUME itself failed).
void vmx_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, bool rejected,
                      uint32_t reason);

// -- world_switch.asm --
// Enters the guest with vcpu->gpr; returns after the exit with the guest's registers there. True:
// the entry instruction failed.
bool vmx_world_switch(struct virt_vcpu *vcpu, uint64_t *host_rsp, bool launched);
extern const char vmx_exit_point[];

// -- vmxon.c --
int vmx_probe(void);
int vmx_cpu_enable(void);
extern const struct virt_ops vmx_ops;
