// SPDX-License-Identifier: BSD-2-Clause
// /dev/kvm: the system ioctls of the KVM API (Documentation/virt/kvm/api.rst).
#include <asm/errno.h>
#include <linux/kdev_t.h>
#include <linux/kvm.h>
#include "core/kvm/vcpu.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

static int64_t system_ioctl(struct file *file, unsigned command, uint64_t argument) {
    switch (command) {
    case KVM_GET_API_VERSION:
        return argument ? -EINVAL : KVM_API_VERSION;
    case KVM_CREATE_VM: // the only machine type on x86 is 0
        return argument ? -EINVAL : vm_create_fd();
    case KVM_CHECK_EXTENSION:
        return capability_check(argument);
    case KVM_GET_VCPU_MMAP_SIZE:
        return argument ? -EINVAL : (int64_t)(VCPU_RUN_PAGES * PAGE_SIZE);
    case KVM_GET_SUPPORTED_CPUID:
    case KVM_GET_EMULATED_CPUID:
        return cpuid_system_ioctl(command, argument);
    case KVM_GET_MSR_INDEX_LIST:
    case KVM_GET_MSR_FEATURE_INDEX_LIST:
    case KVM_GET_MSRS:
        return msr_system_ioctl(command, argument);
    case KVM_HAS_DEVICE_ATTR:
    case KVM_GET_DEVICE_ATTR:
        return device_attribute_system(command, argument);
    case KVM_X86_GET_MCE_CAP_SUPPORTED:
        return copy_to_user(argument, &(uint64_t){MCG_SUPPORTED}, sizeof(uint64_t));
    default:
        return -ENOTTY;
    }
}

static const struct file_ops system_file = {.name = "kvm", .ioctl = system_ioctl};

static struct file *kvm_open(void *object, int flags, int *error) {
    struct file *file = file_create(&system_file, NULL, (uint32_t)flags);
    if (!file)
        *error = -ENOMEM;
    return file;
}

// What Linux's modules would say; nested virtualization is not offered.
static void add_module_parameters(void) {
    static const struct {
        const char *virt, *path, *text;
    } parameters[] = {
        {"VT-x", "/sys/module/kvm_intel/parameters/ept", "Y\n"},
        {"VT-x", "/sys/module/kvm_intel/parameters/unrestricted_guest", "Y\n"},
        {"VT-x", "/sys/module/kvm_intel/parameters/nested", "N\n"},
        {"AMD-V", "/sys/module/kvm_amd/parameters/npt", "Y\n"},
        {"AMD-V", "/sys/module/kvm_amd/parameters/nested", "0\n"},
        {NULL, "/sys/module/kvm/parameters/ignore_msrs", "N\n"},
        {NULL, "/sys/module/kvm/parameters/halt_poll_ns", "0\n"},
    };
    for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++)
        if (!parameters[i].virt || !strcmp(parameters[i].virt, virt->name))
            root_add_text(parameters[i].path, parameters[i].text);
}

void kvm_register(void) {
    if (!virt)
        return;
    msr_init();
    add_module_parameters();
    device_register("/dev/kvm", MKDEV(10, 232), kvm_open, NULL);
}
