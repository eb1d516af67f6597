// SPDX-License-Identifier: BSD-2-Clause
// KVM_ENABLE_CAP on a VM (api.rst 7): a row each.
#include "core/kvm/vm_capability.h"
#include <asm/errno.h>
#include <stddef.h>
#include "core/kvm/dirty_log.h"
#include "core/kvm/dirty_ring.h"
#include "core/kvm/irqchip.h"
#include "core/kvm/msr_filter.h"
#include "core/kvm/vcpu.h"
#include "core/kvm/vm.h"

static int enable_x2apic_api(struct vm *vm, const struct kvm_enable_cap *cap) {
    uint64_t flags = cap->args[0];
    if (flags & ~(uint64_t)(KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK))
        return -EINVAL;
    vm->x2apic_32bit_ids |= (flags & KVM_X2APIC_API_USE_32BIT_IDS) != 0;
    vm->x2apic_no_broadcast_quirk |= (flags & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK) != 0;
    return 0;
}

// Once, before the first vCPU.
static int set_max_vcpu_id(struct vm *vm, const struct kvm_enable_cap *cap) {
    uint64_t limit = cap->args[0];
    if (!limit || limit > VM_MAX_VCPUS)
        return -EINVAL;
    spin_lock(&vm->lock);
    bool possible = !vm->max_vcpu_ids || vm->max_vcpu_ids == limit;
    possible &= !atomic_load(&vm->vcpu_count);
    if (possible)
        vm->max_vcpu_ids = (uint32_t)limit;
    spin_unlock(&vm->lock);
    return possible ? 0 : -EINVAL;
}

static int set_user_space_msr(struct vm *vm, const struct kvm_enable_cap *cap) {
    return msr_set_user_space(vm, cap->args[0]);
}

static int set_platform_info(struct vm *vm, const struct kvm_enable_cap *cap) {
    vm->platform_info_hidden = !cap->args[0];
    for (uint32_t id = 0; id < vm->vcpu_limit; id++)
        if (vm->vcpus[id])
            vm->vcpus[id]->virt.msrs.platform_info_hidden = vm->platform_info_hidden;
    return 0;
}

static int disable_quirks(struct vm *vm, const struct kvm_enable_cap *cap) {
    if (cap->args[0] & ~(uint64_t)VM_QUIRKS)
        return -EINVAL;
    vm->virt.disabled_quirks = cap->args[0];
    return 0;
}

static int disable_exits(struct vm *vm, const struct kvm_enable_cap *cap) {
    if ((cap->args[0] & ~(uint64_t)VM_DISABLED_EXITS) || atomic_load(&vm->vcpu_count))
        return -EINVAL;
    vm->virt.disabled_exits |= cap->args[0];
    return 0;
}

static int set_hypercall_exits(struct vm *vm, const struct kvm_enable_cap *cap) {
    if (cap->args[0] & ~(uint64_t)VM_HYPERCALL_EXITS)
        return -EINVAL;
    vm->hypercall_exits = cap->args[0];
    return 0;
}

static int set_dirty_log(struct vm *vm, const struct kvm_enable_cap *cap) {
    return dirty_log_set_manual(vm, cap->args[0]);
}

static int set_dirty_ring(struct vm *vm, const struct kvm_enable_cap *cap) {
    return dirty_ring_enable(vm, cap->args[0]);
}

static int set_exception_payload(struct vm *vm, const struct kvm_enable_cap *cap) {
    vm->exception_payload = cap->args[0] != 0;
    return 0;
}

static int set_triple_fault(struct vm *vm, const struct kvm_enable_cap *cap) {
    vm->triple_fault_event = cap->args[0] != 0;
    return 0;
}

static int set_emulation_failure(struct vm *vm, const struct kvm_enable_cap *cap) {
    if (cap->args[0] & ~1ull)
        return -EINVAL;
    vm->exit_on_emulation_failure = cap->args[0];
    return 0;
}

static int split_irqchip(struct vm *vm, const struct kvm_enable_cap *cap) {
    if (cap->args[0] > KVM_IOAPIC_NUM_PINS)
        return -EINVAL;
    vm_change_begin(vm);
    int error = irqchip_create_split(vm, (uint32_t)cap->args[0]);
    vm_change_end(vm);
    return error;
}

static const struct {
    uint32_t capability;
    int (*enable)(struct vm *vm, const struct kvm_enable_cap *cap);
} rows[] = {
    {KVM_CAP_X2APIC_API, enable_x2apic_api},
    {KVM_CAP_MAX_VCPU_ID, set_max_vcpu_id},
    {KVM_CAP_X86_USER_SPACE_MSR, set_user_space_msr},
    {KVM_CAP_MSR_PLATFORM_INFO, set_platform_info},
    {KVM_CAP_DISABLE_QUIRKS2, disable_quirks},
    {KVM_CAP_DISABLE_QUIRKS, disable_quirks},
    {KVM_CAP_EXIT_HYPERCALL, set_hypercall_exits},
    {KVM_CAP_X86_DISABLE_EXITS, disable_exits},
    {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, set_dirty_log},
    {KVM_CAP_DIRTY_LOG_RING, set_dirty_ring},
    {KVM_CAP_DIRTY_LOG_RING_ACQ_REL, set_dirty_ring},
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
            return rows[i].enable(vm, cap);
    return -EINVAL;
}
