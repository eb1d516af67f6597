// SPDX-License-Identifier: BSD-2-Clause
// A vCPU under VT-x: its VMCS and what this code remembers of the VMCS to save reads and writes.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/guest/decoder.h"
#include "arch/x86/virt.h"
#include "arch/x86/vmx/capabilities.h"
#include "arch/x86/vmx/instructions.h"
#include "arch/x86/vmx/msr_index.h"

// SYSCALL's MSRs, loaded at the first entry and left loaded until the CPU goes to user mode, runs
// another vCPU, or the VMCS moves to another CPU: a CPU that has them loaded has the VMCS too.
// SWAPGS changes KERNEL_GS_BASE without an exit.
enum lazy_msr {
    LAZY_KERNEL_GS_BASE,
    LAZY_STAR,
    LAZY_LSTAR,
    LAZY_SYSCALL_MASK,
    LAZY_TSC_AUX,
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
    uint64_t write_log; // physical address of its buffer; 0: none
    // Work before an entry, rare each; before_entry tests all four at once.
    union {
        struct {
            bool recheck_events;  // events or what blocks them changed
            bool flush_tlb;       // INVVPID
            bool debug_registers; // DR0-3 must be loaded: breakpoints are enabled
            bool load_spec_ctrl;  // the guest's IA32_SPEC_CTRL is not the host's 0
        };
        uint32_t before_entry;
    };
    bool syscall_enabled, syscall_loaded; // EFER.SCE; STAR, LSTAR and the mask are in the CPU
    uint16_t vpid;
    uint32_t cpu_controls;
    uint32_t exceptions; // exception bitmap
    uint32_t tpr_threshold;
    uint64_t lazy[LAZY_COUNT];
    uint64_t cstar, spec_ctrl;
    uint64_t tsc_multiplier; // 48 fraction bits (SDM vol. 3 25.6.5); 0: not scaled
};

static inline struct vmx_vcpu *vmx_of(const struct virt_vcpu *vcpu) {
    return vcpu->backend;
}

// -- vmcs.c --
// Makes the vCPU's VMCS current on this CPU, clearing it on another if need be. No lock held.
void vmcs_switch(struct vmx_vcpu *v);
static inline void vmcs_use(struct vmx_vcpu *v) {
    if (__builtin_expect(this_cpu()->vmcs != v, 0))
        vmcs_switch(v);
}
// Allocates VMCS and VPID, writes controls and host state. 0 or -ENOMEM.
int vmcs_create(struct virt_vcpu *vcpu, struct vmx_vcpu *v);
void vmcs_destroy(struct vmx_vcpu *v);
// Brings the host state up to date with this CPU. VMCS current.
void vmcs_host_cpu(struct vmx_vcpu *v, struct cpu *cpu);
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
uint64_t vmx_msr_get(struct virt_vcpu *vcpu, enum backend_msr which);
int vmx_msr_set(struct virt_vcpu *vcpu, enum backend_msr which, uint64_t value);

// -- registers.c --
void vmx_get_regs(struct virt_vcpu *vcpu, struct kvm_regs *regs);
void vmx_set_regs(struct virt_vcpu *vcpu, const struct kvm_regs *regs);
void vmx_get_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     struct kvm_segment *segment);
void vmx_set_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     const struct kvm_segment *segment);
uint64_t vmx_get_rflags(struct virt_vcpu *vcpu);
void vmx_set_rflags(struct virt_vcpu *vcpu, uint64_t rflags);
unsigned vmx_get_cpl(struct virt_vcpu *vcpu);
// Past the instruction that exited (VMCS current). The second half is for what seldom is: RIP
// crosses 4 GiB, an interrupt shadow ends, a single step is due.
void vmx_skip_slow(uint64_t rip, uint64_t next, uint64_t interruptibility, uint64_t rflags);
static inline void vmx_skip(void) {
    uint64_t rip = vmread(VMCS_GUEST_RIP), next = rip + vmread(VMCS_EXIT_INSTRUCTION_LENGTH);
    uint64_t interruptibility = vmread(VMCS_GUEST_INTERRUPTIBILITY);
    uint64_t rflags = vmread(VMCS_GUEST_RFLAGS);
    bool special = (rip ^ next) >> 32 || (interruptibility & (BLOCKING_STI | BLOCKING_MOV_SS)) ||
                   (rflags & RFLAGS_TF);
    if (__builtin_expect(special, 0))
        vmx_skip_slow(rip, next, interruptibility, rflags);
    else
        vmwrite(VMCS_GUEST_RIP, next);
}

// -- control_registers.c --
uint64_t vmx_get_cr0(struct virt_vcpu *vcpu);
uint64_t vmx_get_cr4(struct virt_vcpu *vcpu);
// Write without checks; EFER.LMA, entry control, PDPTEs, TLB and CPUID follow.
void vmx_write_cr0(struct virt_vcpu *vcpu, uint64_t cr0);
void vmx_write_cr4(struct virt_vcpu *vcpu, uint64_t cr4);
void vmx_write_efer(struct virt_vcpu *vcpu, uint64_t efer);
// Loads the PDPTE fields from guest memory if the guest uses PAE paging. False: no memory there or
// reserved bits.
bool vmx_load_pdptes(struct virt_vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4,
                     uint64_t efer);
void vmx_update_cr4_mask(struct virt_vcpu *vcpu);

// -- sregs.c --
void vmx_get_sregs(struct virt_vcpu *vcpu, struct kvm_sregs *sregs);
int vmx_set_sregs(struct virt_vcpu *vcpu, const struct kvm_sregs *sregs);
void vmx_get_paging(struct virt_vcpu *vcpu, struct guest_paging *paging);
void vmx_reset(struct virt_vcpu *vcpu, bool init);

// -- debug_registers.c --
void vmx_debug_changed(struct virt_vcpu *vcpu);
void vmx_load_debug_registers(struct virt_vcpu *vcpu);

// -- events.c --
// After an exit that followed an injection or can cut off a delivery (SDM vol. 3 28.2.4:
// exceptions, stage-2 faults, task switches): what was injected is delivered, or waits for its
// second try.
void vmx_events_exit(struct virt_vcpu *vcpu, struct vmx_vcpu *v);
// Before an entry: injects, opens the windows that are needed.
void vmx_events_entry(struct virt_vcpu *vcpu, struct vmx_vcpu *v);
bool vmx_interrupt_allowed(struct virt_vcpu *vcpu);
// Raises an exception from an exit handler.
void vmx_raise(struct virt_vcpu *vcpu, uint8_t vector); // no error code
void vmx_raise_error(struct virt_vcpu *vcpu, uint8_t vector, uint32_t error);

// -- run.c, exit_table.c --
int vmx_run(struct virt_vcpu *vcpu, struct virt_exit *exit);
enum exit_action { EXIT_RESUME, EXIT_LEAVE };
typedef enum exit_action (*exit_handler)(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                         struct virt_exit *exit);
#define EXIT_ROWS 76
extern const exit_handler exit_table[EXIT_ROWS]; // NULL: unexpected
enum exit_action exit_control_register(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                       struct virt_exit *exit);
enum exit_action exit_debug_register(struct virt_vcpu *vcpu, struct vmx_vcpu *v,
                                     struct virt_exit *exit);
enum exit_action exit_exception(struct virt_vcpu *vcpu, struct vmx_vcpu *v, struct virt_exit *exit);

// -- entry_failure.c --
// Logs why the entry failed and the VMCS; fills exit with VIRT_EXIT_FAIL_ENTRY. reason: the exit
// reason, or the instruction error (rejected: VMLAUNCH/VMRESUME itself failed).
void vmx_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit, bool rejected,
                      uint32_t reason);

// -- tsc.c --
void vmx_tsc_changed(struct virt_vcpu *vcpu);
uint64_t vmx_scaled_tsc(const struct virt_vcpu *vcpu); // host TSC now, times the ratio
uint64_t vmx_max_tsc_khz(void);

// -- world_switch.asm --
// Enters the guest with vcpu->gpr; returns after the exit with the guest's registers there. True:
// the entry instruction failed.
bool vmx_world_switch(struct virt_vcpu *vcpu, uint64_t *host_rsp, bool launched);
extern const char vmx_exit_point[];

// -- vmxon.c --
int vmx_probe(void);
int vmx_cpu_enable(void);
void vmx_cpu_disable(void);
extern const struct virt_ops vmx_ops;
