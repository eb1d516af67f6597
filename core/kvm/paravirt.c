// SPDX-License-Identifier: BSD-2-Clause
// Stolen time, EOIs without an exit, and vCPUs that wait for a CPU.
#include "core/kvm/vcpu.h"
#include "core/kvm/guest_memory.h"
#include "core/mm/user_copy.h"
#include "core/sched/scheduler.h"

void paravirt_reset(struct vcpu *vcpu) {
    struct guest_msrs *msrs = &vcpu->virt.msrs;
    msrs->kvm_steal_time = msrs->kvm_pv_eoi = msrs->kvm_system_time = vcpu->clock_gpa = 0;
    atomic_store(&vcpu->unhalted, false);
}

// -- stolen time --

// The page's guest-physical address; false: the guest has none.
static bool steal_page(const struct vcpu *vcpu, uint64_t *address) {
    uint64_t value = vcpu->virt.msrs.kvm_steal_time;
    *address = value & KVM_STEAL_VALID_BITS;
    return value & KVM_MSR_ENABLED;
}

void paravirt_steal_enabled(struct vcpu *vcpu) {
    vcpu->begins = true; // each KVM_RUN brings the page up to date
    vcpu_attend(vcpu, ATTENTION_STEAL);
}

// What another vCPU of the guest asked for since the page said that this one does not run: one
// atomic step with taking that back, or a request could be lost.
static void take_requests(struct vcpu *vcpu, uint64_t page, uint8_t preempted) {
    uint64_t address = page + offsetof(struct kvm_steal_time, preempted);
    bool taken = false;
    while (!taken && !vcpu_exchange_guest(vcpu, address, preempted, 0, 1, &taken))
        if (!taken && vcpu_read_guest(vcpu, address, &preempted, 1))
            return;
    if (preempted & KVM_VCPU_FLUSH_TLB)
        vcpu->virt.flush_tlb = true;
}

void paravirt_steal_update(struct vcpu *vcpu) {
    struct kvm_steal_time page;
    uint64_t address, waited = thread_current()->entity.run_delay;
    if (!steal_page(vcpu, &address) || vcpu_read_guest(vcpu, address, &page, sizeof(page)))
        return;
    take_requests(vcpu, address, page.preempted);
    // Odd while it changes. Any number the guest left there will do.
    uint32_t version = page.version | 1;
    uint64_t version_address = address + offsetof(struct kvm_steal_time, version);
    vcpu_write_guest(vcpu, version_address, &version, sizeof(version));
    // Another thread than last time has a delay of its own.
    page.steal += waited > vcpu->steal_seen ? waited - vcpu->steal_seen : 0;
    vcpu->steal_seen = waited;
    vcpu_write_guest(vcpu, address + offsetof(struct kvm_steal_time, steal), &page.steal,
                     sizeof(page.steal));
    version++;
    vcpu_write_guest(vcpu, version_address, &version, sizeof(version));
}

void paravirt_preempted(struct vcpu *vcpu) {
    static const uint8_t preempted = KVM_VCPU_PREEMPTED;
    uint64_t address;
    if (!steal_page(vcpu, &address))
        return;
    vcpu_write_guest(vcpu, address + offsetof(struct kvm_steal_time, preempted), &preempted, 1);
}

// -- EOI --

void paravirt_eoi_enabled(struct vcpu *vcpu, uint64_t value) {
    if (!vcpu->virt.irqchip)
        return;
    lapic_set_pv_eoi(&vcpu->virt.lapic, value & KVM_MSR_ENABLED);
    vcpu->pv_eoi_gpa = value & ~(uint64_t)KVM_MSR_ENABLED;
    vcpu_attend(vcpu, ATTENTION_PV_EOI);
}

void paravirt_eoi_reach(struct vcpu *vcpu) {
    struct lapic *lapic = &vcpu->virt.lapic;
    uint8_t word;
    lapic_sync_pv_eoi(lapic);
    if (lapic->pv_eoi && (vcpu_read_guest(vcpu, vcpu->pv_eoi_gpa, &word, 1) ||
                          vcpu_write_guest(vcpu, vcpu->pv_eoi_gpa, &word, 1)))
        lapic->pv_eoi = false;
}

// Inside virt->run nothing may wait: a word that is not mapped for writing just then cannot be
// reached, and is brought in outside. The guest's EOI must be known before anything else goes on.
int paravirt_eoi(struct lapic *lapic, bool set) {
    struct vcpu *vcpu = container_of(lapic, struct vcpu, virt.lapic);
    bool running = atomic_load_explicit(&vcpu->virt.in_guest, memory_order_relaxed);
    struct user_faults saved;
    uint8_t word = set;
    if (running)
        user_faults_off(&saved);
    int error = set ? 0 : vcpu_read_guest(vcpu, vcpu->pv_eoi_gpa, &word, 1);
    int was_set = word & 1;
    word = set;
    if (!error && was_set)
        error = vcpu_write_guest(vcpu, vcpu->pv_eoi_gpa, &word, 1);
    if (running)
        user_faults_on(&saved);
    if (error && running) {
        vcpu_attend(vcpu, ATTENTION_PV_EOI);
        if (!set)
            cpu_kick(this_cpu());
        return set ? 0 : -1;
    }
    return error ? 0 : was_set;
}

// -- vCPUs that wait for a CPU --

#define LOOKS 16 // at vCPUs to yield to

void vcpu_give_way(struct vcpu *vcpu) {
    struct vm *vm = vcpu->vm;
    paravirt_preempted(vcpu);
    spin_lock(&vm->yield_lock);
    vcpu->waiting_thread = thread_current();
    list_push_back(&vm->preempted, &vcpu->waiting_node);
    spin_unlock(&vm->yield_lock);
    schedule();
    spin_lock(&vm->yield_lock);
    list_remove(&vcpu->waiting_node);
    vcpu->waiting_thread = NULL;
    spin_unlock(&vm->yield_lock);
    paravirt_steal_update(vcpu);
}

bool vcpu_yield_to(struct vcpu *vcpu, struct vcpu *target) {
    struct vm *vm = vcpu->vm;
    bool next = false;
    unsigned looks = LOOKS;
    vcpu->virt.statistics.yields++;
    if (__atomic_load_n(&vm->preempted.next, __ATOMIC_RELAXED) == &vm->preempted)
        return false;
    spin_lock(&vm->yield_lock);
    if (target)
        next = target->waiting_thread && scheduler_yield_to(target->waiting_thread);
    for (struct list *node = vm->preempted.next;
         !target && !next && node != &vm->preempted && looks--; node = node->next)
        next = scheduler_yield_to(container_of(node, struct vcpu, waiting_node)->waiting_thread);
    spin_unlock(&vm->yield_lock);
    vcpu->virt.statistics.yields_done += next;
    return next;
}
