// SPDX-License-Identifier: BSD-2-Clause
// The VM ioctls of the KVM API (Documentation/virt/kvm/api.rst, "vm ioctl"), a row each.
#include <asm/errno.h>
#include "core/kvm/clock.h"
#include "core/kvm/dirty_log.h"
#include "core/kvm/dirty_ring.h"
#include "core/kvm/ioctl_table.h"
#include "core/kvm/irqchip.h"
#include "core/kvm/msr_filter.h"
#include "core/kvm/vcpu.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

static int64_t check_extension(struct vm *vm, uint64_t capability) {
    return capability_check(capability);
}

static int64_t create_vcpu(struct vm *vm, uint64_t id) {
    uint32_t limit = vm->max_vcpu_ids;
    if (id >= (limit ? limit : VM_MAX_VCPUS))
        return -EINVAL;
    vm_change_begin(vm); // the irqchip it is created for comes before it or not at all
    int fd = vcpu_create_fd(vm, (uint32_t)id);
    vm_change_end(vm);
    return fd;
}

// Unrestricted guests need neither the TSS nor the identity map: where they are is only checked.
static int64_t set_tss_address(struct vm *vm, uint64_t address) {
    return address > UINT32_MAX - 3 * PAGE_SIZE ? -EINVAL : 0;
}

static int set_identity_map(struct vm *vm, const uint64_t *address) {
    return atomic_load(&vm->vcpu_count) ? -EINVAL : 0;
}

static int64_t set_boot_cpu(struct vm *vm, uint64_t id) {
    if (atomic_load(&vm->vcpu_count))
        return -EBUSY;
    vm->boot_cpu_id = (uint32_t)id;
    return 0;
}

static int64_t create_irqchip(struct vm *vm, uint64_t argument) {
    vm_change_begin(vm);
    int error = irqchip_create(vm);
    vm_change_end(vm);
    return error;
}

static int64_t create_pit(struct vm *vm, uint64_t argument) {
    return irqchip_create_pit(vm, &(struct kvm_pit_config){.flags = KVM_PIT_SPEAKER_DUMMY});
}

static int get_irqchip(struct vm *vm, struct kvm_irqchip *chip) {
    return irqchip_state(vm, chip, false);
}

static int set_irqchip(struct vm *vm, struct kvm_irqchip *chip) {
    return irqchip_state(vm, chip, true);
}

static int get_pit2(struct vm *vm, struct kvm_pit_state2 *state) {
    if (!vm->irqchip.pit_created)
        return -ENXIO;
    spin_lock(&vm->irqchip.lock);
    pit_get_state(&vm->irqchip.pit, state);
    spin_unlock(&vm->irqchip.lock);
    return 0;
}

static int set_pit2(struct vm *vm, const struct kvm_pit_state2 *state) {
    if (!vm->irqchip.pit_created)
        return -ENXIO;
    spin_lock(&vm->irqchip.lock);
    pit_set_state(&vm->irqchip.pit, state);
    spin_unlock(&vm->irqchip.lock);
    return 0;
}

// The older form, without the flags.
static int get_pit(struct vm *vm, struct kvm_pit_state *old) {
    struct kvm_pit_state2 state = {0};
    int error = get_pit2(vm, &state);
    memcpy(old->channels, state.channels, sizeof(state.channels));
    return error;
}

static int set_pit(struct vm *vm, const struct kvm_pit_state *old) {
    struct kvm_pit_state2 state = {0};
    int error = get_pit2(vm, &state);
    memcpy(state.channels, old->channels, sizeof(state.channels));
    return error ? error : set_pit2(vm, &state);
}

static int reinject_control(struct vm *vm, const struct kvm_reinject_control *control) {
    if (!vm->irqchip.pit_created)
        return -ENXIO;
    spin_lock(&vm->irqchip.lock);
    pit_set_reinject(&vm->irqchip.pit, control->pit_reinject);
    spin_unlock(&vm->irqchip.lock);
    return 0;
}

static int irq_line(struct vm *vm, struct kvm_irq_level *level) {
    if (vm->irqchip.mode == IRQCHIP_NONE)
        return -ENXIO;
    level->status = irqchip_set_gsi(vm, level->irq, IRQ_SOURCE_USER, level->level);
    return 0;
}

static int64_t set_routing(struct vm *vm, uint64_t argument) {
    struct kvm_irq_routing header;
    if (copy_from_user(&header, argument, sizeof(header)))
        return -EFAULT;
    if (vm->irqchip.mode == IRQCHIP_NONE || header.nr > IRQ_ROUTING_MAX || header.flags)
        return -EINVAL;
    size_t size = header.nr * sizeof(struct kvm_irq_routing_entry);
    struct kvm_irq_routing_entry *entries = heap_alloc(size ? size : 1);
    if (!entries)
        return -ENOMEM;
    int error = copy_from_user(entries, argument + sizeof(header), size);
    if (!error)
        error = irq_routing_check(entries, header.nr, vm->irqchip.mode == IRQCHIP_KERNEL,
                                  vm->x2apic_32bit_ids);
    if (!error) {
        vm_change_begin(vm);
        error = irqchip_set_routing(vm, entries, header.nr);
        vm_change_end(vm);
    }
    heap_free(entries);
    return error;
}

// The second stage's tables are the process's memory like others; the number is only kept.
static int64_t set_mmu_pages(struct vm *vm, uint64_t pages) {
    if (pages < 64) // KVM_MIN_ALLOC_MMU_PAGES
        return -EINVAL;
    vm->nr_mmu_pages = pages;
    return 0;
}

static int64_t get_mmu_pages(struct vm *vm, uint64_t argument) {
    return (int64_t)vm->nr_mmu_pages;
}

static int64_t get_tsc_khz(struct vm *vm, uint64_t argument) {
    return vm->default_tsc_khz;
}

static const struct ioctl_row rows[] = {
    IOCTL_PLAIN(struct vm, KVM_CHECK_EXTENSION, IOCTL_VALUE, check_extension),
    IOCTL_PLAIN(struct vm, KVM_CREATE_VCPU, IOCTL_VALUE, create_vcpu),
    IOCTL_ROW(struct vm, KVM_SET_USER_MEMORY_REGION, IOCTL_IN, struct kvm_userspace_memory_region,
              memslot_set),
    IOCTL_ROW(struct vm, KVM_GET_DIRTY_LOG, IOCTL_IN, struct kvm_dirty_log, dirty_log_get),
    IOCTL_ROW(struct vm, KVM_CLEAR_DIRTY_LOG, IOCTL_IN, struct kvm_clear_dirty_log,
              dirty_log_clear),
    IOCTL_PLAIN(struct vm, KVM_RESET_DIRTY_RINGS, IOCTL_VALUE, dirty_ring_reset),
    IOCTL_PLAIN(struct vm, KVM_SET_TSS_ADDR, IOCTL_VALUE, set_tss_address),
    IOCTL_ROW(struct vm, KVM_SET_IDENTITY_MAP_ADDR, IOCTL_IN, uint64_t, set_identity_map),
    IOCTL_PLAIN(struct vm, KVM_SET_BOOT_CPU_ID, IOCTL_VALUE, set_boot_cpu),
    IOCTL_PLAIN(struct vm, KVM_CREATE_IRQCHIP, IOCTL_VALUE, create_irqchip),
    IOCTL_PLAIN(struct vm, KVM_CREATE_PIT, IOCTL_VALUE, create_pit),
    IOCTL_ROW(struct vm, KVM_CREATE_PIT2, IOCTL_IN, struct kvm_pit_config, irqchip_create_pit),
    IOCTL_ROW(struct vm, KVM_GET_IRQCHIP, IOCTL_IN | IOCTL_OUT, struct kvm_irqchip, get_irqchip),
    IOCTL_ROW(struct vm, KVM_SET_IRQCHIP, IOCTL_IN, struct kvm_irqchip, set_irqchip),
    IOCTL_ROW(struct vm, KVM_GET_PIT, IOCTL_OUT, struct kvm_pit_state, get_pit),
    IOCTL_ROW(struct vm, KVM_SET_PIT, IOCTL_IN, struct kvm_pit_state, set_pit),
    IOCTL_ROW(struct vm, KVM_GET_PIT2, IOCTL_OUT, struct kvm_pit_state2, get_pit2),
    IOCTL_ROW(struct vm, KVM_SET_PIT2, IOCTL_IN, struct kvm_pit_state2, set_pit2),
    IOCTL_ROW(struct vm, KVM_REINJECT_CONTROL, IOCTL_IN, struct kvm_reinject_control,
              reinject_control),
    IOCTL_ROW(struct vm, KVM_IRQ_LINE, IOCTL_IN, struct kvm_irq_level, irq_line),
    IOCTL_ROW(struct vm, KVM_IRQ_LINE_STATUS, IOCTL_IN | IOCTL_OUT, struct kvm_irq_level, irq_line),
    IOCTL_ROW(struct vm, KVM_SIGNAL_MSI, IOCTL_IN, struct kvm_msi, irqchip_signal_msi),
    IOCTL_PLAIN(struct vm, KVM_SET_GSI_ROUTING, IOCTL_POINTER, set_routing),
    IOCTL_ROW(struct vm, KVM_IRQFD, IOCTL_IN, struct kvm_irqfd, irqfd_change),
    IOCTL_ROW(struct vm, KVM_IOEVENTFD, IOCTL_IN, struct kvm_ioeventfd, ioeventfd_change),
    IOCTL_ROW(struct vm, KVM_GET_CLOCK, IOCTL_OUT, struct kvm_clock_data, clock_get),
    IOCTL_ROW(struct vm, KVM_SET_CLOCK, IOCTL_IN, struct kvm_clock_data, clock_set),
    IOCTL_ROW(struct vm, KVM_REGISTER_COALESCED_MMIO, IOCTL_IN, struct kvm_coalesced_mmio_zone,
              coalesced_register),
    IOCTL_ROW(struct vm, KVM_UNREGISTER_COALESCED_MMIO, IOCTL_IN, struct kvm_coalesced_mmio_zone,
              coalesced_unregister),
    IOCTL_PLAIN(struct vm, KVM_GET_STATS_FD, IOCTL_VALUE, statistics_vm_fd),
    IOCTL_PLAIN(struct vm, KVM_SET_NR_MMU_PAGES, IOCTL_VALUE, set_mmu_pages),
    IOCTL_PLAIN(struct vm, KVM_GET_NR_MMU_PAGES, IOCTL_VALUE, get_mmu_pages),
    IOCTL_PLAIN(struct vm, KVM_X86_SET_MSR_FILTER, IOCTL_POINTER, msr_filter_set),
    IOCTL_PLAIN(struct vm, KVM_GET_TSC_KHZ, IOCTL_VALUE, get_tsc_khz),
    IOCTL_PLAIN(struct vm, KVM_SET_TSC_KHZ, IOCTL_VALUE, clock_set_default_tsc_khz),
    IOCTL_ROW(struct vm, KVM_ENABLE_CAP, IOCTL_IN, struct kvm_enable_cap, vm_enable_capability),
};

int64_t vm_ioctl(struct vm *vm, unsigned command, uint64_t argument) {
    return ioctl_dispatch(rows, sizeof(rows) / sizeof(rows[0]), vm, command, argument);
}
