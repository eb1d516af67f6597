// SPDX-License-Identifier: BSD-2-Clause
// KVM_CHECK_EXTENSION: one row a capability we have; all others are 0.
#include "core/kvm/capability.h"
#include <linux/kvm.h>
#include <stddef.h>
#include "arch/x86/guest/irq_routing.h"
#include "core/kvm/coalesced_mmio.h"
#include "core/kvm/memslot.h"
#include "core/kvm/vm.h"
#include "core/kvm/vm_capability.h"

static const struct {
    uint16_t capability;
    int value;
} capabilities[] = {
    {KVM_CAP_IRQCHIP, 1},
    {KVM_CAP_HLT, 1},
    {KVM_CAP_USER_MEMORY, 1},
    {KVM_CAP_SET_TSS_ADDR, 1},
    {KVM_CAP_EXT_CPUID, 1},
    {KVM_CAP_CLOCKSOURCE, 1},
    {KVM_CAP_NR_VCPUS, VM_MAX_VCPUS},
    {KVM_CAP_NR_MEMSLOTS, MEMSLOT_COUNT},
    {KVM_CAP_PIT, 1},
    {KVM_CAP_NOP_IO_DELAY, 1},
    {KVM_CAP_MP_STATE, 1},
    {KVM_CAP_SYNC_MMU, 1},
    {KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1},
    {KVM_CAP_USER_NMI, 1},
    {KVM_CAP_REINJECT_CONTROL, 1},
    {KVM_CAP_IRQ_ROUTING, IRQ_ROUTING_MAX},
    {KVM_CAP_IRQ_INJECT_STATUS, 1},
    {KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1},
    {KVM_CAP_IRQFD, 1},
    {KVM_CAP_IRQFD_RESAMPLE, 1},
    {KVM_CAP_PIT2, 1},
    {KVM_CAP_SET_BOOT_CPU_ID, 1},
    {KVM_CAP_PIT_STATE2, 1},
    {KVM_CAP_IOEVENTFD, 1},
    {KVM_CAP_IOEVENTFD_NO_LENGTH, 1},
    {KVM_CAP_IOEVENTFD_ANY_LENGTH, 1},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, 1},
    {KVM_CAP_ADJUST_CLOCK, KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC},
    {KVM_CAP_INTERNAL_ERROR_DATA, 1},
    {KVM_CAP_VCPU_EVENTS, 1},
    {KVM_CAP_DEBUGREGS, 1},
    {KVM_CAP_XSAVE, 1},
    {KVM_CAP_XCRS, 1},
    {KVM_CAP_GET_TSC_KHZ, 1},
    {KVM_CAP_MAX_VCPUS, VM_MAX_VCPUS},
    {KVM_CAP_MAX_VCPU_ID, VM_MAX_VCPUS},
    {KVM_CAP_TSC_DEADLINE_TIMER, 1},
    {KVM_CAP_KVMCLOCK_CTRL, 1},
    {KVM_CAP_SIGNAL_MSI, 1},
    {KVM_CAP_READONLY_MEM, 1},
    {KVM_CAP_CHECK_EXTENSION_VM, 1},
    {KVM_CAP_IMMEDIATE_EXIT, 1},
    {KVM_CAP_GET_MSR_FEATURES, 1},
    {KVM_CAP_SET_GUEST_DEBUG, 1},
    {KVM_CAP_SET_GUEST_DEBUG2, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP |
                                   KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_USE_SW_BP |
                                   KVM_GUESTDBG_INJECT_BP | KVM_GUESTDBG_INJECT_DB |
                                   KVM_GUESTDBG_BLOCKIRQ},
    {KVM_CAP_X86_ROBUST_SINGLESTEP, 1},
    {KVM_CAP_X86_USER_SPACE_MSR,
     KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER},
    {KVM_CAP_X86_MSR_FILTER, 1},
    {KVM_CAP_MSR_PLATFORM_INFO, 1},
    {KVM_CAP_DISABLE_QUIRKS2, VM_QUIRKS},
    {KVM_CAP_MCE, GUEST_MC_BANKS},
    {KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
     KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET},
    {KVM_CAP_MMU_SHADOW_CACHE_CONTROL, 1},
    {KVM_CAP_EXCEPTION_PAYLOAD, 1},
    {KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1},
    {KVM_CAP_EXIT_ON_EMULATION_FAILURE, 1},
    {KVM_CAP_ENFORCE_PV_FEATURE_CPUID, 1},
    {KVM_CAP_SREGS2, 1},
    {KVM_CAP_XSAVE2, sizeof(struct kvm_xsave)},
    {KVM_CAP_ENABLE_CAP, 1},
    {KVM_CAP_INTR_SHADOW, 1},
    {KVM_CAP_EXT_EMUL_CPUID, 1},
    {KVM_CAP_IOAPIC_POLARITY_IGNORED, 1},
    {KVM_CAP_VCPU_ATTRIBUTES, 1},
    {KVM_CAP_SYS_ATTRIBUTES, 1},
    {KVM_CAP_COALESCED_MMIO, COALESCED_MMIO_PAGE},
    {KVM_CAP_COALESCED_PIO, 1},
    {KVM_CAP_BINARY_STATS_FD, 1},
    {KVM_CAP_SPLIT_IRQCHIP, 1},
    {KVM_CAP_X86_SMM, 1},
    {KVM_CAP_MULTI_ADDRESS_SPACE, MEMSLOT_SPACES},
    {KVM_CAP_ENABLE_CAP_VM, 1},
    {KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK},
    {KVM_CAP_SYNC_REGS, KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS},
};

int capability_check(uint64_t capability) {
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
        if (capabilities[i].capability == capability)
            return capabilities[i].value;
    if (capability == KVM_CAP_TSC_CONTROL || capability == KVM_CAP_VM_TSC_CONTROL)
        return virt->max_tsc_khz() != 0;
    return 0;
}
