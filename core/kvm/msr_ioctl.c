// SPDX-License-Identifier: BSD-2-Clause
// MSR ioctls (api.rst 4.3, 4.18, 4.19), and the hooks of a vCPU's MSR table.
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "core/kvm/clock.h"
#include "core/mm/user_copy.h"

#define MSRS_AT_ONCE 256 // KVM's MAX_IO_MSRS

static struct vcpu *of(struct guest_msrs *msrs) {
    return vcpu_of(container_of(msrs, struct virt_vcpu, msrs));
}

static void set_tsc(struct guest_msrs *msrs, uint64_t value, bool host_initiated) {
    if (host_initiated)
        clock_restore_guest_tsc(of(msrs), value);
    else
        clock_set_guest_tsc(of(msrs), value);
}

static void adjust_tsc(struct guest_msrs *msrs, int64_t delta) {
    clock_set_guest_tsc(of(msrs), virt_guest_tsc(&of(msrs)->virt) + (uint64_t)delta);
}

static void paravirtual(struct guest_msrs *msrs, uint32_t index, uint64_t value, bool host) {
    switch (index) {
    case MSR_KVM_SYSTEM_TIME:
    case MSR_KVM_SYSTEM_TIME_NEW:
        clock_system_time(of(msrs), value);
        break;
    case MSR_KVM_WALL_CLOCK:
    case MSR_KVM_WALL_CLOCK_NEW:
        if (!host) // a VMM restoring the value does not want the page written again
            clock_wall_time(of(msrs));
        break;
    case MSR_KVM_STEAL_TIME:
        paravirt_steal_enabled(of(msrs));
        break;
    case MSR_KVM_PV_EOI_EN:
        paravirt_eoi_enabled(of(msrs), value);
        break;
    default:
        break;
    }
}

struct guest_msr_backend msr_backend = {
    .set_tsc = set_tsc, .adjust_tsc = adjust_tsc, .paravirtual = paravirtual};

void msr_init(void) {
    guest_msr_init();
    virt_msr_backend(&msr_backend);
}

static int64_t copy_list(uint64_t argument, const uint32_t *list, uint32_t count) {
    struct kvm_msr_list header;
    if (copy_from_user(&header, argument, sizeof(header)))
        return -EFAULT;
    if (copy_to_user(argument, &count, sizeof(count)))
        return -EFAULT;
    if (header.nmsrs < count)
        return -E2BIG;
    return copy_to_user(argument + sizeof(header), list, count * sizeof(*list));
}

typedef int msr_access(struct vcpu *vcpu, struct kvm_msr_entry *entry);

static int access_feature(struct vcpu *vcpu, struct kvm_msr_entry *entry) {
    uint64_t value = entry->data;
    int error = guest_msr_feature(entry->index, virt_host_msr, &value);
    entry->data = value;
    return error;
}

static int access_read(struct vcpu *vcpu, struct kvm_msr_entry *entry) {
    uint64_t value = entry->data;
    int error = guest_msr_read(&vcpu->virt.msrs, entry->index, &value, true);
    entry->data = value;
    return error;
}

static int access_write(struct vcpu *vcpu, struct kvm_msr_entry *entry) {
    return guest_msr_write(&vcpu->virt.msrs, entry->index, entry->data, true);
}

// Entries one by one until one is refused: the result is how many were done.
static int64_t for_each_msr(struct vcpu *vcpu, uint64_t argument, bool copy_back,
                            msr_access *access) {
    struct kvm_msrs header;
    if (copy_from_user(&header, argument, sizeof(header)))
        return -EFAULT;
    if (header.nmsrs >= MSRS_AT_ONCE)
        return -E2BIG;
    for (uint32_t i = 0; i < header.nmsrs; i++) {
        uint64_t address = argument + sizeof(header) + i * sizeof(struct kvm_msr_entry);
        struct kvm_msr_entry entry;
        if (copy_from_user(&entry, address, sizeof(entry)))
            return -EFAULT;
        if (access(vcpu, &entry))
            return i;
        if (copy_back && copy_to_user(address, &entry, sizeof(entry)))
            return -EFAULT;
    }
    return header.nmsrs;
}

int64_t msr_system_ioctl(unsigned command, uint64_t argument) {
    if (command == KVM_GET_MSR_INDEX_LIST)
        return copy_list(argument, guest_msr_index_list, guest_msr_index_count);
    if (command == KVM_GET_MSR_FEATURE_INDEX_LIST)
        return copy_list(argument, guest_msr_feature_list, GUEST_MSR_FEATURES);
    return for_each_msr(NULL, argument, true, access_feature);
}

int64_t msr_get_all(struct vcpu *vcpu, uint64_t argument) {
    return for_each_msr(vcpu, argument, true, access_read);
}

int64_t msr_set_all(struct vcpu *vcpu, uint64_t argument) {
    return for_each_msr(vcpu, argument, false, access_write);
}
