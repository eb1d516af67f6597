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
