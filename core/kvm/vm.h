// SPDX-License-Identifier: BSD-2-Clause
// A virtual machine: memory slots over its process's address space, interrupt controllers, vCPUs.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include "arch/x86/guest/ioapic.h"
#include "arch/x86/guest/irq_routing.h"
#include "arch/x86/guest/kvmclock.h"
#include "arch/x86/guest/pic.h"
#include "arch/x86/guest/pit.h"
#include "arch/x86/virt.h"
#include "core/file/file.h"
#include "core/mm/address_space.h"
#include "core/sched/spinlock.h"
#include "core/sched/timer.h"

#define VM_MAX_VCPUS 1024 // as Linux; their ids are below it too

struct vcpu;
struct memslot_table;
struct ioeventfd_table;
struct msr_filter;
struct coalesced_zones;

enum irqchip_mode { IRQCHIP_NONE, IRQCHIP_KERNEL, IRQCHIP_SPLIT };

// PIC, I/O APIC, PIT and the table that routes GSIs to them. `lock` guards the models; it is taken
// below wait-queue locks (an irqfd fires under its eventfd's) and above run-queue locks.
struct vm_irqchip {
    struct spinlock lock;
    enum irqchip_mode mode;
    struct pic pic;
    struct ioapic ioapic;
    struct pit pit;
    bool pit_created;
    struct timer pit_timer;
    struct irq_routing
        *_Atomic routing; // replaced whole; readers do not hold it across a wait or a user copy
    uint32_t acknowledged_pins; // EOIed under the lock, resample irqfds still to be told
    uint32_t split_pins;        // of user space's I/O APIC, IRQCHIP_SPLIT
    uint32_t split_watch[8];    // vectors whose EOI it wants to know
    struct list irqfds;         // struct irqfd, guarded by vm->lock
};

struct vm {
    atomic_uint references; // the VM fd, each vCPU fd
    struct spinlock lock;   // vcpus, irqfds, ioeventfds, capabilities being enabled
    struct virt_vm virt;
    struct address_space *space;
    struct address_space_listener listener;
    struct spinlock mmu_lock; // stage-2 table and its sequence
    uint64_t mmu_sequence;    // bumped by every invalidation
    atomic_uint zapping;      // that take entries out and have not flushed yet
    struct memslot_table *_Atomic memslots;
    _Atomic bool changing;     // one change of memslots, ioeventfds or routing at a time
    _Atomic bool kernel_ports; // some port write may end here: PIC, PIT, ioeventfd, coalesced
    struct ioeventfd_table *_Atomic ioeventfds;
    struct vm_irqchip irqchip;
    struct vcpu *vcpus[VM_MAX_VCPUS];   // by vCPU id
    struct lapic *lapics[VM_MAX_VCPUS]; // by vCPU id
    atomic_uint vcpu_count;
    uint32_t vcpu_limit;   // highest id + 1
    uint32_t max_vcpu_ids; // KVM_CAP_MAX_VCPU_ID; 0: not set
    uint32_t boot_cpu_id;
    uint64_t clock_offset; // guest kvmclock = time_now() + clock_offset
    uint64_t nr_mmu_pages;
    uint32_t default_tsc_khz;
    uint64_t creation_tsc;     // the host's when guest TSCs read 0
    uint64_t tsc_offset;       // what new vCPUs start with
    uint64_t dirty_log_manual; // KVM_DIRTY_LOG_*
    uint32_t dirty_ring_pages; // of each vCPU; 0: no rings
    uint32_t logged_slots;     // changed between vm_change_begin and vm_change_end
    struct coalesced_zones *_Atomic coalesced_zones;
    struct spinlock coalesced_lock; // the ring; below no other
    uint64_t coalesced_ring;        // physical address of the page all vCPUs map
    struct {
        _Atomic uint64_t remote_tlb_flushes, zaps;
    } statistics;
    struct msr_filter *_Atomic msr_filter;
    uint64_t user_space_msr; // KVM_MSR_EXIT_REASON_*
    bool platform_info_hidden, exception_payload, triple_fault_event, exit_on_emulation_failure;
    uint64_t hypercall_exits;   // KVM_CAP_EXIT_HYPERCALL: a bit a number
    struct spinlock yield_lock; // vCPUs' waiting_thread; above run-queue locks
    struct list preempted;      // vCPUs by waiting_node, the longest waiting first; under the same
    bool x2apic_32bit_ids, x2apic_no_broadcast_quirk;
};

// /dev/kvm and VM_CREATE.
void kvm_register(void);
// A new VM of the current process as an fd. -errno.
int vm_create_fd(void);
void vm_get(struct vm *vm);
void vm_put(struct vm *vm);

// So that what was unpublished can be freed. No lock held.
static inline void kvm_synchronize(void) {
    cpu_synchronize();
}

// Brackets a change of one of the published tables; may yield until another change is done. No lock
// held.
void vm_change_begin(struct vm *vm);
void vm_change_end(struct vm *vm);

// -- vm_ioctl.c --

int64_t vm_ioctl(struct vm *vm, unsigned command, uint64_t argument);

// -- capability.c --

// The capability's value; 0 for all that we do not have.
int capability_check(uint64_t capability);

// -- vm_capability.c --

// Quirks that KVM_CAP_DISABLE_QUIRKS2 can turn off here.
#define VM_QUIRKS                                                                                  \
    (KVM_X86_QUIRK_MISC_ENABLE_NO_MWAIT | KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS |                    \
     KVM_X86_QUIRK_FIX_HYPERCALL_INSN)
// Instructions that KVM_CAP_X86_DISABLE_EXITS can leave to the guest.
#define VM_DISABLED_EXITS (KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE)
// Hypercalls that KVM_CAP_EXIT_HYPERCALL can hand to user space.
#define VM_HYPERCALL_EXITS (1 << KVM_HC_MAP_GPA_RANGE)

// 0, or -EINVAL (unknown capability, bad argument), -EEXIST, -ENOMEM.
int vm_enable_capability(struct vm *vm, const struct kvm_enable_cap *cap);

// -- irqfd.c --

// KVM_IRQFD. 0, -EINVAL, -EBADF, -EBUSY (that eventfd is bound already), -ENOMEM.
int irqfd_change(struct vm *vm, const struct kvm_irqfd *request);
// Level GSIs (bit each) were EOIed: resample irqfds lower their line and tell user space. No lock
// held.
void irqfd_acknowledged(struct vm *vm, uint32_t gsis);
void irqfd_destroy_all(struct vm *vm);

// -- ioeventfd.c --

// KVM_IOEVENTFD. 0, -EINVAL, -EBADF, -EEXIST, -ENOENT, -ENOSPC, -ENOMEM.
int ioeventfd_change(struct vm *vm, const struct kvm_ioeventfd *request);
// A guest write of `size` bytes: true if an ioeventfd took it. Takes no lock.
bool ioeventfd_write(struct vm *vm, bool port, uint64_t address, unsigned size, const void *data);
void ioeventfd_destroy_all(struct vm *vm);

// -- coalesced_mmio.c --

#define COALESCED_MMIO_PAGE 2 // of a vCPU's mapping; the ring is the VM's

// The ring's page. 0 or -ENOMEM.
int coalesced_init(struct vm *vm);
void coalesced_destroy(struct vm *vm);
// KVM_REGISTER_COALESCED_MMIO, KVM_UNREGISTER_COALESCED_MMIO. 0, -EINVAL, -ENOSPC, -ENOMEM. No lock
// held.
int coalesced_register(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone);
int coalesced_unregister(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone);
// A guest's write of size <= 8 bytes. False: not in a zone, or the ring is full.
bool coalesced_write(struct vm *vm, bool port, uint64_t address, unsigned size, const void *data);
