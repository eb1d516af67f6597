// SPDX-License-Identifier: BSD-2-Clause
// Attributes of the system and of vCPUs (Documentation/virt/kvm/devices/vcpu.rst; api.rst 4.80).
#include "core/kvm/vcpu.h"
#include <asm/errno.h>
#include "core/kvm/clock.h"
#include "core/mm/user_copy.h"

int64_t device_attribute_system(unsigned command, uint64_t argument) {
    struct kvm_device_attr attribute;
    if (copy_from_user(&attribute, argument, sizeof(attribute)))
        return -EFAULT;
    if (attribute.group || attribute.attr != KVM_X86_XCOMP_GUEST_SUPP)
        return -ENXIO;
    if (command == KVM_HAS_DEVICE_ATTR)
        return 0;
    uint64_t components = fpu_host_xcr0();
    return copy_to_user(attribute.addr, &components, sizeof(components));
}

static int tsc_offset(struct vcpu *vcpu, unsigned command, uint64_t user) {
    uint64_t offset = vcpu->virt.tsc_offset;
    if (command == KVM_GET_DEVICE_ATTR)
        return copy_to_user(user, &offset, sizeof(offset));
    if (copy_from_user(&offset, user, sizeof(offset)))
        return -EFAULT;
    clock_set_tsc_offset(vcpu, offset);
    vcpu->vm->tsc_offset = offset;
    return 0;
}

int device_attribute_vcpu(struct vcpu *vcpu, unsigned command,
                          const struct kvm_device_attr *attribute) {
    if (attribute->group != KVM_VCPU_TSC_CTRL || attribute->attr != KVM_VCPU_TSC_OFFSET)
        return -ENXIO;
    return command == KVM_HAS_DEVICE_ATTR ? 0 : tsc_offset(vcpu, command, attribute->addr);
}
