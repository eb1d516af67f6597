// SPDX-License-Identifier: BSD-2-Clause
// KVM_ENABLE_CAP on a VM (api.rst 7): a row each.
#include <asm/errno.h>
#include "core/kvm/dirty_log.h"
#include "core/kvm/dirty_ring.h"
#include "core/kvm/irqchip.h"
#include "core/kvm/msr_filter.h"
#include "core/kvm/vcpu.h"

static int enable_x2apic_api(struct vm *vm, uint64_t value) {
    if (value & ~(uint64_t)(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK))
        return -EINVAL;
    vm->x2apic_32bit_ids |= (value & KVM_X2APIC_API_USE_32BIT_IDS) != 0;
    vm->x2apic_no_broadcast_quirk |= (value & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK) != 0;
    return 0;
}

// Once, before the first vCPU.
static int set_max_vcpu_id(struct vm *vm, uint64_t value) {
    if (!value || value > VM_MAX_VCPUS)
        return -EINVAL;
    spin_lock(&vm->lock);
    bool possible = !vm->max_vcpu_ids || vm->max_vcpu_ids == value;
    possible &= !atomic_load(&vm->vcpu_count);
    if (possible)
        vm->max_vcpu_ids = (uint32_t)value;
    spin_unlock(&vm->lock);
    return possible ? 0 : -EINVAL;
}

static int set_platform_info(struct vm *vm, uint64_t value) {
    vm->platform_info_hidden = !value;
    for (uint32_t id = 0; id < vm->vcpu_limit; id++)
        if (vm->vcpus[id])
            vm->vcpus[id]->virt.msrs.platform_info_hidden = vm->platform_info_hidden;
    return 0;
}

static int disable_quirks(struct vm *vm, uint64_t value) {
    if (value & ~(uint64_t)VM_QUIRKS)
        return -EINVAL;
    vm->virt.disabled_quirks = value;
    return 0;
}

static int disable_exits(struct vm *vm, uint64_t value) {
    if ((value & ~(uint64_t)VM_DISABLED_EXITS) || atomic_load(&vm->vcpu_count))
        return -EINVAL;
    vm->virt.disabled_exits |= value;
    return 0;
}

static int set_hypercall_exits(struct vm *vm, uint64_t value) {
    if (value & ~(uint64_t)VM_HYPERCALL_EXITS)
        return -EINVAL;
    vm->hypercall_exits = value;
    return 0;
}

static int set_exception_payload(struct vm *vm, uint64_t value) {
    vm->exception_payload = value != 0;
    return 0;
}

static int set_triple_fault(struct vm *vm, uint64_t value) {
    vm->triple_fault_event = value != 0;
    return 0;
}

static int set_emulation_failure(struct vm *vm, uint64_t value) {
    if (value & ~1ull)
        return -EINVAL;
    vm->exit_on_emulation_failure = value;
    return 0;
}

static int split_irqchip(struct vm *vm, uint64_t value) {
    if (value > KVM_IOAPIC_NUM_PINS)
        return -EINVAL;
    vm_change_begin(vm);
    int error = irqchip_create_split(vm, (uint32_t)value);
    vm_change_end(vm);
    return error;
}

static const struct {
    uint32_t capability;
    int (*enable)(struct vm *vm, uint64_t value);
} rows[] = {
    {KVM_CAP_X2APIC_API, enable_x2apic_api},
    {KVM_CAP_MAX_VCPU_ID, set_max_vcpu_id},
    {KVM_CAP_X86_USER_SPACE_MSR, msr_set_user_space},
    {KVM_CAP_MSR_PLATFORM_INFO, set_platform_info},
    {KVM_CAP_DISABLE_QUIRKS2, disable_quirks},
    {KVM_CAP_DISABLE_QUIRKS, disable_quirks},
    {KVM_CAP_EXIT_HYPERCALL, set_hypercall_exits},
    {KVM_CAP_X86_DISABLE_EXITS, disable_exits},
    {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, dirty_log_set_manual},
    {KVM_CAP_DIRTY_LOG_RING, dirty_ring_enable},
    {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, dirty_ring_enable},
    {KVM_CAP_EXCEPTION_PAYLOAD, set_exception_payload},
    {KVM_CAP_X86_TRIPLE_FAULT_EVENT, set_triple_fault},
    {KVM_CAP_EXIT_ON_EMULATION_FAILURE, set_emulation_failure},
    {KVM_CAP_SPLIT_IRQCHIP, split_irqchip},
};

int vm_enable_capability(struct vm *vm, const struct kvm_enable_cap *cap) {
    if (cap->flags)
        return -EINVAL;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].capability == cap->cap)
            return rows[i].enable(vm, cap->args[0]);
    return -EINVAL;
}
