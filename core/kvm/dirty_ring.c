// SPDX-License-Identifier: BSD-2-Clause
// Dirty rings: the kernel appends, user space marks what it has collected, KVM_RESET_DIRTY_RINGS
// takes that back. The entries are user space's to spoil; the indices are not.
#include "core/kvm/dirty_ring.h"
#include <asm/errno.h>
#include <linux/mman.h>
#include "core/kvm/dirty_log.h"
#include "core/kvm/stage2.h"
#include "core/kvm/vcpu.h"
#include "core/mm/heap.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"

#define ENTRIES_OF_PAGE (PAGE_SIZE / sizeof(struct kvm_dirty_gfn))
// Entries that may come after the ring counts as full: KVM's reserve, and a full PML buffer.
#define RESERVE (64u + (virt_logs_writes ? VIRT_WRITE_LOG_ENTRIES : 0))

struct dirty_ring {
    _Atomic uint32_t pushed, reset; // entries since it was made; index: modulo the size
    uint32_t pages;
    uint64_t page[]; // physical
};

static struct kvm_dirty_gfn *entry_at(const struct dirty_ring *ring, uint32_t index) {
    index %= ring->pages * ENTRIES_OF_PAGE;
    struct kvm_dirty_gfn *entries = page_to_virtual(ring->page[index / ENTRIES_OF_PAGE]);
    return &entries[index % ENTRIES_OF_PAGE];
}

int dirty_ring_enable(struct vm *vm, uint64_t bytes) {
    if (bytes & (bytes - 1) || bytes < PAGE_SIZE || bytes < RESERVE * sizeof(struct kvm_dirty_gfn))
        return -EINVAL;
    if (bytes > DIRTY_RING_BYTES_MAX)
        return -E2BIG;
    spin_lock(&vm->lock);
    bool possible = !vm->dirty_ring_pages && !atomic_load(&vm->vcpu_count);
    if (possible)
        vm->dirty_ring_pages = (uint32_t)(bytes / PAGE_SIZE);
    spin_unlock(&vm->lock);
    return possible ? 0 : -EINVAL;
}

int dirty_ring_create(struct vcpu *vcpu) {
    uint32_t pages = vcpu->vm->dirty_ring_pages;
    if (!pages)
        return 0;
    struct dirty_ring *ring = heap_alloc(sizeof(*ring) + pages * sizeof(ring->page[0]));
    vcpu->dirty_ring = ring;
    for (uint32_t i = 0; ring && i < pages; i++) {
        ring->page[i] = page_alloc_zeroed(0);
        if (ring->page[i] == PHYSICAL_NONE) {
            dirty_ring_destroy(vcpu);
            return -ENOMEM;
        }
        ring->pages++;
    }
    return ring ? 0 : -ENOMEM;
}

void dirty_ring_destroy(struct vcpu *vcpu) {
    struct dirty_ring *ring = vcpu->dirty_ring;
    for (uint32_t i = 0; ring && i < ring->pages; i++)
        page_put(ring->page[i]);
    heap_free(ring);
    vcpu->dirty_ring = NULL;
}

int dirty_ring_map(struct vcpu *vcpu, uint64_t offset, uint64_t size, int prot, int flags,
                   struct memory_object **object) {
    const struct dirty_ring *ring = vcpu->dirty_ring;
    uint64_t bytes = ring ? ring->pages * PAGE_SIZE : 0;
    if (offset >= bytes || size > bytes - offset || (prot & PROT_EXEC) ||
        (flags & MAP_TYPE) == MAP_PRIVATE)
        return -EINVAL;
    *object = kernel_pages_create(ring->page, ring->pages);
    return *object ? 0 : -ENOMEM;
}

bool dirty_ring_full(const struct vcpu *vcpu) {
    const struct dirty_ring *ring = vcpu->dirty_ring;
    uint32_t used = atomic_load(&ring->pushed) - atomic_load(&ring->reset);
    return used >= ring->pages * ENTRIES_OF_PAGE - RESERVE;
}

void dirty_ring_push(struct vcpu *vcpu, uint32_t slot, uint64_t page) {
    struct dirty_ring *ring = vcpu->dirty_ring;
    struct kvm_dirty_gfn *entry = entry_at(ring, atomic_load(&ring->pushed));
    entry->slot = slot;
    entry->offset = page;
    __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_DIRTY, __ATOMIC_RELEASE);
    atomic_fetch_add(&ring->pushed, 1);
    if (dirty_ring_full(vcpu))
        atomic_fetch_or(&vcpu->virt.attention, ATTENTION_DIRTY_RING);
}

static int64_t reset_one(struct vm *vm, struct dirty_ring *ring) {
    int64_t count = 0;
    for (;; count++) {
        uint32_t at = atomic_load(&ring->reset);
        struct kvm_dirty_gfn *entry = entry_at(ring, at);
        uint32_t flags = __atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE);
        if (at == atomic_load(&ring->pushed) || !(flags & KVM_DIRTY_GFN_F_RESET))
            return count;
        dirty_log_reset(vm, __atomic_load_n(&entry->slot, __ATOMIC_RELAXED),
                        __atomic_load_n(&entry->offset, __ATOMIC_RELAXED));
        __atomic_store_n(&entry->flags, 0, __ATOMIC_RELEASE);
        atomic_store(&ring->reset, at + 1);
        if (at % ENTRIES_OF_PAGE == 0)
            thread_preemption_point();
    }
}

int64_t dirty_ring_reset(struct vm *vm, uint64_t argument) {
    int64_t count = 0;
    if (!vm->dirty_ring_pages)
        return -EINVAL;
    vm_change_begin(vm);
    for (uint32_t id = 0; id < vm->vcpu_limit; id++)
        if (vm->vcpus[id])
            count += reset_one(vm, vm->vcpus[id]->dirty_ring);
    if (count)
        stage2_flush(vm);
    vm_change_end(vm);
    return count;
}
