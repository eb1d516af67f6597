// SPDX-License-Identifier: BSD-2-Clause
// A VM's second-stage page table: filled on first touch from the process's own mappings, emptied
// when those go. A fault reads the sequence, asks the address space without a lock, and maps only
// if no invalidation came between.
#include "core/kvm/stage2.h"
#include <asm/errno.h>
#include "arch/x86/mm/page_walker.h"
#include "core/kvm/dirty_log.h"
#include "core/kvm/vcpu.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"

#define ZAP_CHUNK (64ull << 20) // bytes of guest memory taken out under one hold of the lock

static void stage2_answer(void *argument) {
}

// A CPU inside the guest leaves it to answer, and compares generations before it enters again.
void stage2_flush(struct vm *vm) {
    atomic_fetch_add(&vm->virt.stage2_generation, 1);
    atomic_fetch_add_explicit(&vm->statistics.remote_tlb_flushes, 1, memory_order_relaxed);
    uint64_t mask[CPU_MAX / 64];
    for (unsigned i = 0; i < CPU_MAX / 64; i++)
        mask[i] = atomic_load(&vm->virt.cpus[i]);
    cpu_call(mask, stage2_answer, NULL);
}

// Nobody may take a page to be free because another has taken its entry out already, but has not
// told the processors yet.
static void zap_end(struct vm *vm, bool any, uint64_t tables) {
    if (any || atomic_load(&vm->zapping) > 1)
        stage2_flush(vm);
    atomic_fetch_sub(&vm->zapping, 1);
    page_walker_release(tables);
}

void stage2_zap(struct vm *vm, uint64_t gpa, uint64_t size) {
    uint64_t end = gpa + size;
    uint64_t tables = 0;
    bool any = false;
    atomic_fetch_add_explicit(&vm->statistics.zaps, 1, memory_order_relaxed);
    atomic_fetch_add(&vm->zapping, 1);
    while (gpa < end) {
        uint64_t chunk = end - gpa < ZAP_CHUNK ? end - gpa : ZAP_CHUNK;
        spin_lock(&vm->mmu_lock);
        vm->mmu_sequence++;
        any |= page_walker_zap(virt->stage2_format, stage2_root(vm, gpa), gpa, chunk, &tables);
        spin_unlock(&vm->mmu_lock);
        thread_preemption_point();
        gpa += chunk;
    }
    zap_end(vm, any, tables);
}

static void stage2_invalidate(struct address_space_listener *listener, uint64_t start,
                              uint64_t end) {
    struct vm *vm = container_of(listener, struct vm, listener);
    uint64_t tables = 0;
    bool any = false;
    const struct memslot_table *table = atomic_load(&vm->memslots);
    atomic_fetch_add(&vm->zapping, 1);
    spin_lock(&vm->mmu_lock);
    vm->mmu_sequence++;
    for (uint32_t i = 0; table && i < table->count; i++) {
        const struct memslot *slot = &table->slots[i];
        uint64_t low = start > slot->user_address ? start : slot->user_address;
        uint64_t slot_end = slot->user_address + slot->size, high = end < slot_end ? end : slot_end;
        if (low < high)
            any |= page_walker_zap(virt->stage2_format, stage2_root(vm, slot->gpa),
                                   slot->gpa + (low - slot->user_address), high - low, &tables);
    }
    spin_unlock(&vm->mmu_lock);
    zap_end(vm, any, tables);
}

int stage2_init(struct vm *vm) {
    for (unsigned i = 0; i < MEMSLOT_SPACES; i++) {
        vm->virt.stage2_root[i] = page_walker_create(virt->stage2_format);
        if (vm->virt.stage2_root[i] != PHYSICAL_NONE)
            continue;
        if (i)
            page_put(vm->virt.stage2_root[0]);
        return -ENOMEM;
    }
    // No CPU counts as clean: a table of an earlier VM may have stood at the same address.
    atomic_store(&vm->virt.stage2_generation, 1);
    vm->listener.invalidate = stage2_invalidate;
    address_space_listen(vm->space, &vm->listener);
    return 0;
}

void stage2_destroy(struct vm *vm) {
    address_space_unlisten(vm->space, &vm->listener);
    for (unsigned i = 0; i < MEMSLOT_SPACES; i++)
        page_walker_destroy(virt->stage2_format, vm->virt.stage2_root[i]);
}

// The largest page that is aligned alike in guest-physical, user and physical space and lies inside
// the slot.
static uint64_t stage2_page_size(const struct memslot *slot, uint64_t gpa,
                                 const struct user_page *page) {
    uint64_t user = memslot_user(slot, gpa);
    if (slot->dirty) // logged by page
        return PAGE_SIZE;
    for (uint64_t size = page->size; size > PAGE_SIZE; size >>= 9) {
        uint64_t base = gpa & ~(size - 1);
        bool inside = base >= slot->gpa && base + size <= slot->gpa + slot->size;
        if (inside && ((gpa ^ user) & (size - 1)) == 0 &&
            page_walker_allows(virt->stage2_format, size))
            return size;
    }
    return PAGE_SIZE;
}

// A logged page becomes writable when its bit is set, by this write or since it was cleared last;
// at once where the processor logs writes.
static bool may_write(struct vcpu *vcpu, const struct memslot *slot, uint64_t gpa, bool write) {
    uint64_t page = (gpa - slot->gpa) / PAGE_SIZE;
    if (slot->flags & KVM_MEM_READONLY)
        return false;
    if (!slot->dirty || virt_logs_writes)
        return true;
    if (write)
        dirty_log_mark(vcpu, slot, page);
    return dirty_log_test(slot->dirty, page);
}

static int stage2_map(struct vcpu *vcpu, const struct memslot *slot, uint64_t gpa,
                      const struct user_page *page, bool write) {
    uint64_t size = stage2_page_size(slot, gpa, page);
    uint64_t user = memslot_user(slot, gpa);
    uint64_t physical = (page->physical + (user & (page->size - 1))) & ~(size - 1);
    unsigned flags = PAGING_EXECUTE | PAGING_USER;
    if (page->writable && may_write(vcpu, slot, gpa, write))
        flags |= PAGING_WRITE;
    uint64_t root = stage2_root(vcpu->vm, gpa);
    int error =
        page_walker_map(virt->stage2_format, root, gpa & ~(size - 1), physical, size, flags);
    if (error != -EEXIST)
        return error;
    return page_walker_map(virt->stage2_format, root, gpa & PAGE_MASK,
                           (page->physical + (user & (page->size - 1))) & PAGE_MASK, PAGE_SIZE,
                           flags);
}

// Guest memory may be executed whatever the process's own right, as in KVM.
int stage2_fault(struct vcpu *vcpu, uint64_t gpa, bool write) {
    struct vm *vm = vcpu->vm;
    for (;;) {
        uint64_t sequence = *(volatile uint64_t *)&vm->mmu_sequence;
        struct memslot slot;
        struct user_page page;
        if (!memslot_find(vm, gpa, &slot) || (write && (slot.flags & KVM_MEM_READONLY)))
            return STAGE2_MMIO;
        int error = address_space_page(vm->space, memslot_user(&slot, gpa),
                                       write ? ACCESS_WRITE : ACCESS_READ, &page);
        spin_lock(&vm->mmu_lock);
        bool stale = sequence != vm->mmu_sequence;
        if (!stale) // KVM_RUN says -EFAULT of memory that cannot be had, whatever the reason
            error = error ? -EFAULT : stage2_map(vcpu, &slot, gpa, &page, write);
        spin_unlock(&vm->mmu_lock);
        if (!stale)
            return error ? error : STAGE2_MAPPED;
    }
}
