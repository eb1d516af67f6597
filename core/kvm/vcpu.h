// SPDX-License-Identifier: BSD-2-Clause
// A virtual CPU: the thread inside ioctl(KVM_RUN) that owns it, its register state and the page
// shared with user space.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "arch/x86/guest/emulator.h"
#include "arch/x86/virt.h"
#include "core/kvm/memslot.h"
#include "core/kvm/vm.h"
#include "core/sched/timer.h"
#include "core/sched/wait.h"

#define VCPU_RUN_PAGES 3 // kvm_run, PIO data, coalesced MMIO ring

// What user space must finish before the next entry.
enum vcpu_completion {
    COMPLETE_NOTHING,
    COMPLETE_PORT_IN,
    COMPLETE_PORT_OUT,
    COMPLETE_EMULATION, // this and the rest: rare
    COMPLETE_HYPERCALL,
    COMPLETE_MSR
};

struct vcpu {
    struct virt_vcpu virt; // first: vcpu_of
    struct vm *vm;         // outlives the vCPU
    _Atomic uint32_t busy; // somebody is inside an ioctl on it
    _Atomic bool wanted;   // somebody waits on idle to get in
    struct wait_queue idle;
    struct kvm_run *run; // page 0
    uint8_t *port_data;  // page 1
    uint64_t run_pages[VCPU_RUN_PAGES];
    _Atomic int cpu;      // where it entered the guest last
    _Atomic bool waiting; // its thread waits on `halted`
    struct wait_queue halted;
    uint32_t mp_state; // KVM_MP_STATE_*
    _Atomic uint8_t sipi_vector;
    enum vcpu_completion completion;
    struct virt_exit exit;
    bool eoi_pending; // KVM_EXIT_IOAPIC_EOI of eoi_vector is due
    uint8_t eoi_vector;
    bool rip_moved;                // by user space since the port access that is to be completed
    struct dirty_ring *dirty_ring; // NULL: the VM has none
    bool has_run;
    bool init_latched, nmi_masked_before_smm; // during SMM
    bool begins;                              // KVM_RUN has something to do first
    _Atomic bool unhalted;                    // KVM_HC_KICK_CPU: ends this HLT or the next
    uint64_t steal_seen;                      // ns of waiting that the guest has been told of
    uint64_t pv_eoi_gpa;
    struct thread *waiting_thread; // inside KVM_RUN, in want of a CPU; under vm->yield_lock
    struct list waiting_node;      // in vm->preempted
    struct emulation emulation;
    struct virt_state state; // as emulation began with it
    uint64_t decoded[2];     // bytes, their number and mode of the instruction in emulation
    bool mmio_known;         // exit.stage2 says where the emulated operand's page is
    bool mmio_unbacked;      // and that it is no memory for such an access
    struct timer timer;      // local APIC timer
    uint8_t *lapic_page;
    struct kvm_cpuid_entry2 *cpuid_entries;
    uint64_t clock_gpa;   // MSR_KVM_SYSTEM_TIME, bit 0: enabled
    bool clock_stopped;   // KVM_KVMCLOCK_CTRL: tell the guest it was paused
    bool wall_clock_due;  // to be written where MSR_KVM_WALL_CLOCK says
    uint64_t signal_mask; // KVM_SET_SIGNAL_MASK
    bool has_signal_mask;
};

static inline struct vcpu *vcpu_of(struct virt_vcpu *virt_vcpu) {
    return (struct vcpu *)virt_vcpu;
}

// What stands for the vCPU's address space in guest-physical addresses given to memslot_find.
static inline uint64_t vcpu_space(const struct vcpu *vcpu) {
    return vcpu->virt.in_smm ? MEMSLOT_SMM : 0;
}

// A new vCPU fd. -EEXIST, -EINVAL, -ENOMEM.
int vcpu_create_fd(struct vm *vm, uint32_t id);
void vcpu_destroy(struct vcpu *vcpu);
// KVM_RUN. 0 or -errno (-EINTR).
int64_t vcpu_run(struct vcpu *vcpu);
// Makes the vCPU look at `attention` soon, wherever it is. Any context.
void vcpu_attend(struct vcpu *vcpu, uint32_t attention);

// Emulation (vcpu_emulate.c). EXIT_TO_USER: kvm_run is filled; RESUME: go on.
enum vcpu_next { VCPU_EXIT_TO_USER = 0, VCPU_RESUME = 1 };
void vcpu_emulate_init(struct vcpu *vcpu); // once, when port_data is there
int vcpu_emulate(struct vcpu *vcpu);
int vcpu_emulate_continue(struct vcpu *vcpu); // user space has finished an access
int vcpu_undefined(struct vcpu *vcpu);        // VIRT_EXIT_UNDEFINED

// Counts an NMI for injection (at most two wait, SDM vol. 3 6.7.1) without waking the vCPU.
void vcpu_queue_nmi(struct vcpu *vcpu);

// -- vcpu_ioctl.c --

int64_t vcpu_ioctl(struct vcpu *vcpu, unsigned command, uint64_t argument);

// The pieces KVM_CAP_SYNC_REGS needs too. 0 or -EINVAL.
int vcpu_set_regs(struct vcpu *vcpu, const struct kvm_regs *regs);
int vcpu_get_sregs(struct vcpu *vcpu, struct kvm_sregs *sregs);
int vcpu_set_sregs(struct vcpu *vcpu, const struct kvm_sregs *sregs);
int vcpu_get_events(struct vcpu *vcpu, struct kvm_vcpu_events *events);
int vcpu_set_events(struct vcpu *vcpu, const struct kvm_vcpu_events *events);

// -- vcpu_fpu.c; the vCPU is held and not running, but for the last two --

int vcpu_get_fpu(struct vcpu *vcpu, struct kvm_fpu *fpu);
int vcpu_set_fpu(struct vcpu *vcpu, const struct kvm_fpu *fpu);
int vcpu_get_xsave(struct vcpu *vcpu, struct kvm_xsave *xsave);
// 0, or -EINVAL: a component the host has not, compacted format, reserved bits.
int vcpu_set_xsave(struct vcpu *vcpu, const struct kvm_xsave *xsave);
// Vector register `which` in the saved area: XMM, and for 32 bytes its upper half from the AVX
// component.
void vcpu_read_vector(struct vcpu *vcpu, unsigned which, void *data, uint32_t size);
void vcpu_write_vector(struct vcpu *vcpu, unsigned which, const void *data, uint32_t size,
                       bool clear_upper);

// -- smm.c --

// All below by the vCPU's thread or whoever holds it. An SMI is pending: enters SMM, or lets it
// wait for its end, for the guest to run at all, or for what is being injected.
void smm_interrupt(struct vcpu *vcpu);
// RSM, in SMM.
void smm_resume(struct vcpu *vcpu);
// Moves the vCPU into the address space of SMM or out of it; what waited for the end of SMM is due.
void smm_set(struct vcpu *vcpu, bool in_smm);

// -- hypercall.c --

// VMCALL or VMMCALL was executed and skipped: enum vcpu_next.
int hypercall(struct vcpu *vcpu);
// User space has finished one (KVM_EXIT_HYPERCALL).
int hypercall_complete(struct vcpu *vcpu);
// An undefined instruction: if it is the other vendor's hypercall, it becomes this one's to run
// again (KVM_X86_QUIRK_FIX_HYPERCALL_INSN), or the page fault of that write is raised. False: it is
// not.
bool hypercall_fix(struct vcpu *vcpu, const uint8_t *bytes, unsigned count);

// -- machine_check.c --

// KVM_X86_SETUP_MCE. 0 or -EINVAL. The vCPU is held.
int machine_check_setup(struct vcpu *vcpu, uint64_t capabilities);
// KVM_X86_SET_MCE. 0 or -EINVAL. The vCPU is held.
int machine_check_inject(struct vcpu *vcpu, const struct kvm_x86_mce *event);

// -- cpuid_ioctl.c --

int64_t cpuid_system_ioctl(unsigned command,
                           uint64_t argument); // KVM_GET_SUPPORTED_CPUID, KVM_GET_EMULATED_CPUID
int64_t cpuid_set(struct vcpu *vcpu, uint64_t argument); // KVM_SET_CPUID2
int64_t cpuid_get(struct vcpu *vcpu, uint64_t argument); // KVM_GET_CPUID2

// -- device_attribute.c --

// The system's: KVM_X86_XCOMP_GUEST_SUPP. 0, -ENXIO (no such attribute), -EFAULT.
int64_t device_attribute_system(unsigned command, uint64_t argument);
// A vCPU's: KVM_VCPU_TSC_OFFSET. The same errors. The vCPU is held.
int device_attribute_vcpu(struct vcpu *vcpu, unsigned command,
                          const struct kvm_device_attr *attribute);

// -- msr_ioctl.c --

int64_t msr_system_ioctl(unsigned command, uint64_t argument); // index lists, feature MSRs
// KVM_GET_MSRS / KVM_SET_MSRS: the number done, or -errno.
int64_t msr_get_all(struct vcpu *vcpu, uint64_t argument);
int64_t msr_set_all(struct vcpu *vcpu, uint64_t argument);
// What every vCPU's MSR table is given; whole after msr_init.
extern struct guest_msr_backend msr_backend;
void msr_init(void);

// -- statistics.c --

// A new fd or -errno.
int64_t statistics_vm_fd(struct vm *vm, uint64_t argument);
int64_t statistics_vcpu_fd(struct vcpu *vcpu, uint64_t argument);

// -- paravirt.c --

// INIT: the guest starts anew and shares nothing.
void paravirt_reset(struct vcpu *vcpu);
// MSR_KVM_STEAL_TIME was written.
void paravirt_steal_enabled(struct vcpu *vcpu);
// The guest's page gets the time its vCPU waited for a CPU, if it has one. The vCPU's thread.
void paravirt_steal_update(struct vcpu *vcpu);
// The vCPU's thread may lose its CPU: the page says so until the next update, before it runs again.
void paravirt_preempted(struct vcpu *vcpu);

// MSR_KVM_PV_EOI_EN was written.
void paravirt_eoi_enabled(struct vcpu *vcpu, uint64_t value);
// ATTENTION_PV_EOI: brings the guest's word in. The vCPU's thread.
void paravirt_eoi_reach(struct vcpu *vcpu);
// lapic_ops.pv_eoi.
int paravirt_eoi(struct lapic *lapic, bool set);

// schedule() from inside KVM_RUN: another vCPU of the VM may choose this one meanwhile.
void vcpu_give_way(struct vcpu *vcpu);
// Makes `target` the next to run here if it waits for a CPU there (NULL: the vCPU of the VM that
// has waited longest); the caller, another vCPU's thread, then gives way.
bool vcpu_yield_to(struct vcpu *vcpu, struct vcpu *target);
