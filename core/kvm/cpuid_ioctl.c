// SPDX-License-Identifier: BSD-2-Clause
// CPUID ioctls (api.rst 4.46, 4.20, 4.60).
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "arch/x86/guest/vcpu_exit.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

static uint64_t entry_address(uint64_t argument, uint32_t index) {
    return argument + sizeof(struct kvm_cpuid2) + index * sizeof(struct kvm_cpuid_entry2);
}

static int copy_out(uint64_t argument, const struct kvm_cpuid_entry2 *entries, uint32_t count) {
    if (copy_to_user(argument, &count, sizeof(count)))
        return -EFAULT;
    return copy_to_user(entry_address(argument, 0), entries, count * sizeof(*entries));
}

int64_t cpuid_system_ioctl(unsigned command, uint64_t argument) {
    struct kvm_cpuid2 header;
    if (copy_from_user(&header, argument, sizeof(header)))
        return -EFAULT;
    uint32_t count = header.nent < CPUID_MAX_ENTRIES ? header.nent : CPUID_MAX_ENTRIES;
    struct kvm_cpuid_entry2 *entries = heap_alloc(CPUID_MAX_ENTRIES * sizeof(*entries));
    if (!entries)
        return -ENOMEM;
    int64_t error = 0;
    if (command == KVM_GET_SUPPORTED_CPUID)
        error = cpuid_supported(&virt_host, entries, &count);
    else // nothing is emulated that the processor lacks: the emulator runs MMIO accesses, not #UD
        count = 0;
    if (!error)
        error = copy_out(argument, entries, count);
    heap_free(entries);
    return error;
}

static void adopt(struct vcpu *vcpu, struct kvm_cpuid_entry2 *entries, uint32_t count) {
    struct virt_vcpu *state = &vcpu->virt;
    guest_cpuid_set(&state->cpuid, entries, count);
    heap_free(vcpu->cpuid_entries);
    vcpu->cpuid_entries = entries;
    state->lapic.x2apic_allowed = guest_cpuid_has(&state->cpuid, CPUID_X2APIC);
    state->lapic.tsc_deadline_allowed = guest_cpuid_has(&state->cpuid, CPUID_TSC_DEADLINE);
    state->lapic.base_reserved = ~0ull << vcpu_physical_bits(state);
    virt_cpuid_changed(state);
}

// What the guest has seen must not change under it (KVM since 5.16). The new table is compared as
// it would be in use.
static bool same_as_now(struct vcpu *vcpu, struct kvm_cpuid_entry2 *entries, uint32_t count) {
    const struct guest_cpuid *now = &vcpu->virt.cpuid;
    struct guest_cpuid wanted;
    if (count != now->count)
        return false;
    guest_cpuid_set(&wanted, entries, count);
    virt_cpuid_apply(&vcpu->virt, &wanted);
    return memcmp(wanted.entries, now->entries, count * sizeof(*entries)) == 0;
}

int64_t cpuid_set(struct vcpu *vcpu, uint64_t argument) {
    struct kvm_cpuid2 header;
    if (copy_from_user(&header, argument, sizeof(header)))
        return -EFAULT;
    if (header.nent > CPUID_MAX_ENTRIES)
        return -E2BIG;
    size_t size = header.nent * sizeof(struct kvm_cpuid_entry2);
    struct kvm_cpuid_entry2 *entries = heap_alloc(size ? size : 1);
    if (!entries)
        return -ENOMEM;
    int error = copy_from_user(entries, entry_address(argument, 0), size);
    if (!error)
        error = guest_cpuid_check(entries, header.nent);
    if (!error && !vcpu->has_run) {
        adopt(vcpu, entries, header.nent);
        return 0;
    }
    if (!error && !same_as_now(vcpu, entries, header.nent))
        error = -EINVAL;
    heap_free(entries);
    return error;
}

int64_t cpuid_get(struct vcpu *vcpu, uint64_t argument) {
    struct kvm_cpuid2 header;
    const struct guest_cpuid *cpuid = &vcpu->virt.cpuid;
    if (copy_from_user(&header, argument, sizeof(header)))
        return -EFAULT;
    if (header.nent < cpuid->count) {
        uint32_t needed = cpuid->count;
        return copy_to_user(argument, &needed, sizeof(needed)) ? -EFAULT : -E2BIG;
    }
    return copy_out(argument, cpuid->entries, cpuid->count);
}
