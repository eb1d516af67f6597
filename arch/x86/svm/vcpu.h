// SPDX-License-Identifier: BSD-2-Clause
// A vCPU under AMD-V: its VMCB, plain memory that any CPU may read and write, and what belongs to
// it.
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/guest/decoder.h"
#include "arch/x86/guest/vcpu_exit.h"
#include "arch/x86/svm/capabilities.h"
#include "arch/x86/svm/instruction.h"
#include "arch/x86/svm/vmcb.h"
#include "arch/x86/virt.h"

struct svm_vcpu {
    struct virt_vcpu *vcpu;
    struct vmcb *vmcb;
    uint64_t vmcb_physical;
    struct cpu *cpu;          // where it ran last; NULL: nowhere
    uint64_t asid_generation; // of that CPU when it gave the ASID
    uint64_t stage2_seen; // generation of the second stage that the ASID's entries are clean for
    uint64_t next_rip;    // past the instruction that exited; 0: to be found out
    uint64_t cr0, cr4;    // as the guest sees them
    // Work after an exit, rare each.
    union {
        struct {
            bool injected;     // the last entry injected an event
            bool iret_pending; // NMIs are unmasked by the IRET at iret_rip
            bool step;         // TF is ours for this entry: an event waits for one instruction
            bool breakpoints;  // the host's DR7 may have the guest's breakpoints on
            bool shadow;       // entered in an interrupt shadow, at shadow_rip
        };
        uint64_t after_exit;
    };
    bool virtual_interrupt; // injected: as a virtual interrupt
    bool nmi_masked;        // without virtual NMI: an NMI's handler has not reached its IRET
    bool step_guest_tf;     // step: the guest had TF itself
    bool stepped;           // the exit followed an entry with step
    bool shadow_lost;       // this processor's VMRUN ends an interrupt shadow
    uint8_t soft_advance;   // bytes that RIP went ahead for an injected soft event
    uint64_t step_rip, iret_rip, shadow_rip;
    uint64_t tsc_aux;
};

static inline struct svm_vcpu *svm_of(const struct virt_vcpu *vcpu) {
    return vcpu->backend;
}

static inline void vmcb_dirty(struct vmcb *vmcb, enum vmcb_clean what) {
    vmcb->clean &= ~(uint64_t)what;
}

// -- vmcb.c --
int vmcb_create(struct virt_vcpu *vcpu); // 0 or -ENOMEM
void vmcb_destroy(struct virt_vcpu *vcpu);
// Exits with that code (below 0xa0) on or off.
void vmcb_intercept(struct svm_vcpu *v, unsigned exit_code, bool on);
static inline bool vmcb_intercepts(const struct svm_vcpu *v, unsigned exit_code) {
    return v->vmcb->intercepts[exit_code / 32] >> exit_code % 32 & 1;
}

// -- enable.c --
int svm_probe(void);
int svm_cpu_enable(void);
// A CPU's own part.
struct svm_cpu {
    uint64_t host_vmcb;       // what VMLOAD brings back of it; physical
    uint64_t asid_generation; // from 1
    uint32_t next_asid;
    bool flush_all;     // due since the generation began: its ASIDs' last owners left translations
    uint64_t tsc_ratio; // in MSR_TSC_RATIO; 32 fraction bits (APM vol. 2 15.30.5)
    uint64_t tsc_aux;   // the host's
};
#define TSC_RATIO_FRACTION 32
#define TSC_RATIO_ONE      (1ull << TSC_RATIO_FRACTION)
extern struct svm_cpu svm_cpus[CPU_MAX];
extern const struct virt_ops svm_ops;

// -- asid.c --
// Gives the vCPU an ASID of this CPU that has no translations yet.
void asid_renew(struct svm_vcpu *v, struct svm_cpu *cpu);

// -- permission_maps.c --
extern uint64_t svm_msr_map, svm_msr_map_all, svm_io_map; // physical
int svm_permission_maps_init(void);                       // 0 or -ENOMEM

// -- registers.c --
uint64_t svm_get(struct virt_vcpu *vcpu, enum backend_register which);
void svm_get_state(struct virt_vcpu *vcpu, struct virt_state *state);
void svm_set(struct virt_vcpu *vcpu, enum backend_register which, uint64_t value);
void svm_get_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     struct kvm_segment *segment);
void svm_set_segment(struct virt_vcpu *vcpu, unsigned segment_register,
                     const struct kvm_segment *segment);
bool svm_code_64(const struct vmcb *vmcb);

// -- fetch.c --
// Reads and parses the instruction at RIP. False: it cannot be read.
bool svm_instruction_fetch(struct virt_vcpu *vcpu, struct svm_instruction *instruction);
// Past the instruction that exited.
void svm_skip(struct virt_vcpu *vcpu);
// Takes over what the guest has written to XCR0 without an exit: QEMU 7.2's TCG knows no intercept
// of XSETBV. The guest's vector registers are loaded.
void svm_adopt_xcr0(struct virt_vcpu *vcpu);

// -- control_registers.c --
uint64_t svm_get_cr0(const struct svm_vcpu *v);
void svm_write_cr0(struct virt_vcpu *vcpu, uint64_t cr0);
void svm_write_cr4(struct virt_vcpu *vcpu, uint64_t cr4);
void svm_write_efer(struct virt_vcpu *vcpu, uint64_t efer);
// The instruction's operand from the decode assists, where they are valid, else from memory. False:
// it cannot be read.
bool svm_find_operand(struct virt_vcpu *vcpu, bool assisted, struct svm_instruction *what);

// -- debug_registers.c --
void svm_debug_changed(struct virt_vcpu *vcpu);
void svm_load_breakpoints(struct virt_vcpu *vcpu);
void svm_disarm_breakpoints(struct svm_vcpu *v); // after the exit
HANDLER(svm_exit_debug_register);
HANDLER(svm_exit_debug_exception);
HANDLER(svm_exit_software_interrupt);

// -- events.c --
// After an exit: what was injected is delivered, or waits for its second try.
void svm_events_exit(struct virt_vcpu *vcpu, struct svm_vcpu *v);
// Before an entry: injects, opens the windows that are needed.
void svm_events_entry(struct virt_vcpu *vcpu, struct svm_vcpu *v);
// After an exit with shadow.
void svm_shadow_exit(struct svm_vcpu *v);
HANDLER(svm_exit_virtual_interrupt);

// -- step.c --
// An event waits for the end of the next instruction: the guest exits there by #DB. Nothing may be
// injected at this entry, TF would be pushed with the flags.
void svm_step(struct svm_vcpu *v);
// After an exit with step.
void svm_step_exit(struct svm_vcpu *v);

// -- nmi.c --
bool nmi_masked(const struct svm_vcpu *v);
void nmi_set_masked(struct svm_vcpu *v, bool masked);
// An NMI is pending that cannot be injected now: makes the guest exit when it can. injecting:
// something else is injected at this entry.
void nmi_open_window(struct virt_vcpu *vcpu, struct svm_vcpu *v, bool injecting);
// After an exit with iret_pending.
void nmi_exit(struct svm_vcpu *v);
// Takes back what was handed to the processor's virtual NMI and is not delivered.
void nmi_collect(struct virt_vcpu *vcpu, struct svm_vcpu *v);

// -- run.c, exit_table.c --
int svm_run(struct virt_vcpu *vcpu, struct virt_exit *exit);
#define SVM_EXIT_ROWS 0xa0
struct exit_row {
    exit_handler handler; // NULL: unexpected
    uint8_t length;       // of the opcode without prefixes; 0: no instruction, or one with operands
    bool on;              // intercepted from the start
};
extern const struct exit_row svm_exit_table[SVM_EXIT_ROWS];
HANDLER(svm_exit_nested_page_fault);
HANDLER(svm_exit_control_register);

// -- entry_failure.c --
// Logs the VMCB; fills exit with VIRT_EXIT_FAIL_ENTRY.
void svm_entry_failed(struct virt_vcpu *vcpu, struct virt_exit *exit);

// -- world_switch.asm --
// Enters the guest with vcpu->gpr and the VMCB's RAX and RSP; returns after the exit.
void svm_world_switch(struct virt_vcpu *vcpu, uint64_t vmcb, uint64_t host_vmcb);

// -- instructions.c --

// Stores FS, GS, TR, LDTR and the MSRs of SYSCALL and SYSENTER into the VMCB at that physical
// address.
static inline void svm_vmsave(uint64_t vmcb) {
    __asm__ volatile("vmsave" ::"a"(vmcb) : "memory");
}

// -- msr_index.c --

enum svm_msr_index {
    MSR_TSC_RATIO = 0xc0000104,
    MSR_VM_CR = 0xc0010114,
    MSR_VM_HSAVE_PA = 0xc0010117,
};

#define EFER_SVME      (1ull << 12)
#define VM_CR_LOCK     (1ull << 3)
#define VM_CR_DISABLED (1ull << 4)
