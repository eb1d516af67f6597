// SPDX-License-Identifier: BSD-2-Clause
// A virtual machine: memory slots over its process's address space, interrupt controllers, vCPUs.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <linux/kvm.h>
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
