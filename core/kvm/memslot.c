// SPDX-License-Identifier: BSD-2-Clause
// Memory slots: which user memory stands at which guest-physical address.
#include "core/kvm/memslot.h"
#include <asm/errno.h>
#include "core/kvm/dirty_log.h"
#include "core/kvm/stage2.h"
#include "core/kvm/vcpu.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"

#define MEMSLOT_FLAGS (uint32_t)(KVM_MEM_READONLY | KVM_MEM_LOG_DIRTY_PAGES)

static const struct memslot *table_find(const struct memslot_table *table, uint64_t gpa) {
    uint32_t low = 0, high = table ? table->count : 0;
    if (!high)
        return NULL;
    while (high - low > 1) { // the last slot that begins at or below gpa is in [low, high)
        uint32_t middle = (low + high) / 2;
        if (gpa < table->slots[middle].gpa)
            high = middle;
        else
            low = middle;
    }
    const struct memslot *slot = &table->slots[low];
    return gpa - slot->gpa < slot->size ? slot : NULL;
}

bool memslot_find(struct vm *vm, uint64_t gpa, struct memslot *slot) {
    const struct memslot *found = table_find(atomic_load(&vm->memslots), gpa);
    if (found)
        *slot = *found;
    return found != NULL;
}

static const struct memslot *table_by_id(const struct memslot_table *table, uint32_t id) {
    for (uint32_t i = 0; table && i < table->count; i++)
        if (table->slots[i].id == id)
            return &table->slots[i];
    return NULL;
}

bool memslot_by_id(struct vm *vm, uint32_t id, struct memslot *slot) {
    const struct memslot *found = table_by_id(atomic_load(&vm->memslots), id);
    if (found)
        *slot = *found;
    return found != NULL;
}

void memslot_mark_dirty(struct vcpu *vcpu, uint64_t gpa, uint64_t size) {
    const struct memslot_table *table = atomic_load(&vcpu->vm->memslots);
    for (uint64_t page = gpa & PAGE_MASK; page < gpa + size; page += PAGE_SIZE) {
        const struct memslot *slot = table_find(table, page);
        if (slot && slot->dirty)
            dirty_log_mark(vcpu, slot, (page - slot->gpa) / PAGE_SIZE);
    }
}

// The limits of Documentation/virt/kvm/api.rst, 4.35; four levels of tables reach 48 bits.
static int region_check(const struct kvm_userspace_memory_region *region) {
    uint64_t end = region->guest_phys_addr + region->memory_size;
    if ((region->flags & ~MEMSLOT_FLAGS) || (region->slot & 0xffff) >= MEMSLOT_COUNT ||
        region->slot >> 16 >= MEMSLOT_SPACES)
        return -EINVAL;
    if ((region->memory_size | region->guest_phys_addr | region->userspace_addr) & ~PAGE_MASK)
        return -EINVAL;
    if (end < region->guest_phys_addr || end > 1ull << 48)
        return -EINVAL;
    uint64_t user_end = region->userspace_addr + region->memory_size;
    if (user_end < region->userspace_addr || user_end > USER_END)
        return -EINVAL;
    return 0;
}

static bool overlaps(const struct memslot_table *table, uint32_t but_id, uint64_t gpa,
                     uint64_t size) {
    for (uint32_t i = 0; table && i < table->count; i++) {
        const struct memslot *slot = &table->slots[i];
        if (slot->id != but_id && gpa < slot->gpa + slot->size && slot->gpa < gpa + size)
            return true;
    }
    return false;
}

// What KVM allows to change in place: the address, and flags, but not size, user address or being
// read-only.
static int change_check(const struct memslot *old,
                        const struct kvm_userspace_memory_region *region) {
    if (old->user_address != region->userspace_addr || old->size != region->memory_size)
        return -EINVAL;
    return (old->flags ^ region->flags) & KVM_MEM_READONLY ? -EINVAL : 0;
}

// The old table without slot `id` and, if `add`, with it: sorted by address.
static struct memslot_table *table_rebuild(const struct memslot_table *old, uint32_t id,
                                           const struct memslot *add) {
    uint32_t count = (old ? old->count : 0) + 1;
    struct memslot_table *table = heap_alloc(sizeof(*table) + count * sizeof(struct memslot));
    if (!table)
        return NULL;
    for (uint32_t i = 0; old && i < old->count; i++) {
        if (old->slots[i].id == id)
            continue;
        if (add && add->gpa < old->slots[i].gpa) {
            table->slots[table->count++] = *add;
            add = NULL;
        }
        table->slots[table->count++] = old->slots[i];
    }
    if (add)
        table->slots[table->count++] = *add;
    return table;
}

static void publish(struct vm *vm, struct memslot_table *table) {
    struct memslot_table *old = atomic_exchange(&vm->memslots, table);
    kvm_synchronize();
    heap_free(old);
}

// Keeps, makes or drops the log as the flag says.
static int choose_log(struct vm *vm, const struct memslot *old, struct memslot *slot) {
    if (!slot->size || !(slot->flags & KVM_MEM_LOG_DIRTY_PAGES))
        return 0;
    slot->dirty = old->dirty ? old->dirty : dirty_log_create(vm, slot->size / PAGE_SIZE);
    return slot->dirty ? 0 : -ENOMEM;
}

// The processors log writes as long as a slot is logged: every vCPU has left the guest, and looks,
// before one can be.
static void count_logged(struct vm *vm, bool before, bool after) {
    uint32_t old = vm->logged_slots;
    vm->logged_slots += (uint32_t)after - (uint32_t)before;
    if (!virt_logs_writes || !old == !vm->logged_slots)
        return;
    for (uint32_t id = 0; id < vm->vcpu_limit; id++)
        if (vm->vcpus[id])
            vcpu_attend(vm->vcpus[id], ATTENTION_WRITE_LOG);
    kvm_synchronize();
}

// The guest's view follows the table: entries of a slot that is gone, moved, or logged from now on.
static void replace(struct vm *vm, struct memslot_table *table, const struct memslot *old,
                    const struct memslot *slot) {
    count_logged(vm, old->dirty, slot->dirty);
    publish(vm, table);
    if (old->size && (old->gpa != slot->gpa || !slot->size || old->dirty != slot->dirty))
        stage2_zap(vm, old->gpa, old->size);
    if (old->dirty != slot->dirty)
        dirty_log_destroy(old->dirty);
}

static int memslot_change(struct vm *vm, const struct kvm_userspace_memory_region *region) {
    struct memslot_table *old_table = atomic_load(&vm->memslots);
    const struct memslot *found = table_by_id(old_table, region->slot);
    struct memslot old = found ? *found : (struct memslot){0};
    uint64_t gpa = region->guest_phys_addr | (region->slot >> 16 ? MEMSLOT_SMM : 0);
    if (!region->memory_size && !found)
        return -EINVAL;
    if (region->memory_size) {
        int error = found ? change_check(found, region) : 0;
        if (error)
            return error;
        if (overlaps(old_table, region->slot, gpa, region->memory_size))
            return -EEXIST;
    }
    struct memslot slot = {.gpa = gpa,
                           .size = region->memory_size,
                           .user_address = region->userspace_addr,
                           .id = region->slot,
                           .flags = region->flags};
    if (choose_log(vm, &old, &slot))
        return -ENOMEM;
    struct memslot_table *table =
        table_rebuild(old_table, region->slot, region->memory_size ? &slot : NULL);
    if (!table) {
        if (slot.dirty != old.dirty)
            dirty_log_destroy(slot.dirty);
        return -ENOMEM;
    }
    replace(vm, table, &old, &slot);
    return 0;
}

int memslot_set(struct vm *vm, const struct kvm_userspace_memory_region *region) {
    int error = region_check(region);
    if (error)
        return error;
    vm_change_begin(vm);
    error = memslot_change(vm, region);
    vm_change_end(vm);
    return error;
}

void memslot_destroy(struct vm *vm) {
    struct memslot_table *table = atomic_exchange(&vm->memslots, NULL);
    for (uint32_t i = 0; table && i < table->count; i++)
        dirty_log_destroy(table->slots[i].dirty);
    heap_free(table);
}
