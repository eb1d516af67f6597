// SPDX-License-Identifier: BSD-2-Clause
// Coalesced MMIO: zones in an immutable table, writes in a ring shared with user space.
#include "core/kvm/vm.h"
#include <asm/errno.h>
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/string.h"

#define ZONE_MAX 1000 // a VM, as Linux's limit of devices on a bus
#define RING_ENTRIES                                                                               \
    ((PAGE_SIZE - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

struct coalesced_zones {
    uint32_t count;
    struct kvm_coalesced_mmio_zone zones[];
};

int coalesced_init(struct vm *vm) {
    vm->coalesced_ring = page_alloc_zeroed(0);
    return vm->coalesced_ring == PHYSICAL_NONE ? -ENOMEM : 0;
}

void coalesced_destroy(struct vm *vm) {
    heap_free(atomic_exchange(&vm->coalesced_zones, NULL));
    page_put(vm->coalesced_ring);
}

// The zone holds [address, address + size).
static bool holds(const struct kvm_coalesced_mmio_zone *zone, bool port, uint64_t address,
                  uint64_t size) {
    return !zone->pio == !port && address >= zone->addr && size <= zone->size &&
           address - zone->addr <= zone->size - size;
}

static void publish(struct vm *vm, struct coalesced_zones *zones) {
    struct coalesced_zones *old = atomic_exchange(&vm->coalesced_zones, zones);
    atomic_store(&vm->kernel_ports, true);
    kvm_synchronize();
    heap_free(old);
}

// The old table but the zones around `without`, with room for one more.
static struct coalesced_zones *copy(const struct coalesced_zones *old,
                                    const struct kvm_coalesced_mmio_zone *without) {
    uint32_t count = old ? old->count : 0;
    struct coalesced_zones *zones =
        heap_alloc(sizeof(*zones) + (count + 1) * sizeof(zones->zones[0]));
    for (uint32_t i = 0; zones && i < count; i++)
        if (!without || !holds(&old->zones[i], without->pio, without->addr, without->size))
            zones->zones[zones->count++] = old->zones[i];
    return zones;
}

int coalesced_register(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone) {
    if (zone->pio > 1 || zone->addr + zone->size < zone->addr)
        return -EINVAL;
    vm_change_begin(vm);
    struct coalesced_zones *old = atomic_load(&vm->coalesced_zones), *zones = NULL;
    int error = old && old->count >= ZONE_MAX ? -ENOSPC : 0;
    if (!error && !(zones = copy(old, NULL)))
        error = -ENOMEM;
    if (!error) {
        zones->zones[zones->count++] = *zone;
        publish(vm, zones);
    }
    vm_change_end(vm);
    return error;
}

int coalesced_unregister(struct vm *vm, const struct kvm_coalesced_mmio_zone *zone) {
    if (zone->pio > 1)
        return -EINVAL;
    vm_change_begin(vm);
    struct coalesced_zones *zones = copy(atomic_load(&vm->coalesced_zones), zone);
    if (zones)
        publish(vm, zones);
    vm_change_end(vm);
    return zones ? 0 : -ENOMEM;
}

// User space may have written nonsense into the ring: `last` is checked before use.
static bool append(struct vm *vm, bool port, uint64_t address, unsigned size, const void *data) {
    struct kvm_coalesced_mmio_ring *ring = page_to_virtual(vm->coalesced_ring);
    spin_lock(&vm->coalesced_lock);
    uint32_t last = __atomic_load_n(&ring->last, __ATOMIC_RELAXED);
    uint32_t next = (last + 1) % RING_ENTRIES;
    bool room = last < RING_ENTRIES && next != __atomic_load_n(&ring->first, __ATOMIC_ACQUIRE);
    if (room) {
        struct kvm_coalesced_mmio *entry = &ring->coalesced_mmio[last];
        entry->phys_addr = address;
        entry->len = size;
        entry->pio = port;
        memcpy(entry->data, data, size);
        __atomic_store_n(&ring->last, next, __ATOMIC_RELEASE);
    }
    spin_unlock(&vm->coalesced_lock);
    return room;
}

bool coalesced_write(struct vm *vm, bool port, uint64_t address, unsigned size, const void *data) {
    const struct coalesced_zones *zones = atomic_load(&vm->coalesced_zones);
    for (uint32_t i = 0; zones && i < zones->count; i++)
        if (holds(&zones->zones[i], port, address, size))
            return append(vm, port, address, size, data);
    return false;
}
