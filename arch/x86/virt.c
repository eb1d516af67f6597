// SPDX-License-Identifier: BSD-2-Clause
// Chooses the back end, and what all back ends share of the host.
#include "arch/x86/virt.h"
#include <asm/errno.h>
#include "core/log.h"
#include "core/mm/heap.h"

// A back end: does the processor have it at all, and if so, can it be used (said in words if not)?
struct backend {
    const struct virt_ops *ops;
    int (*probe)(void);
    uint32_t leaf, bit; // of ECX
};

extern const struct virt_ops vmx_ops, svm_ops;
int vmx_probe(void);
int svm_probe(void);

static const struct backend backends[] = {
    {&vmx_ops, vmx_probe, 1, 1u << 5},
    {&svm_ops, svm_probe, 0x80000001, 1u << 2},
};

#define CPUID_7_EDX_SPEC_CTRL (1u << 26)
#define CPUID_7_EDX_FLUSH_L1D (1u << 28)
#define CPUID_7_EDX_ARCH_CAPS (1u << 29)

const struct virt_ops *virt;
struct cpuid_host virt_host;
uint64_t virt_supported_cr4;
bool virt_logs_writes;

static void find_host(void) {
    struct cpuid_regs last = read_cpuid(0, 0), features = {0};
    if (last.eax >= 7)
        features = read_cpuid(7, 0);
    virt_host = (struct cpuid_host){
        .read = read_cpuid,
        .xcr0 = fpu_host_xcr0(),
        .compacts = cpuid_compacts(read_cpuid, fpu_host_xcr0()),
        .x2apic_emulated = true,
        .tsc_stable = true,
        .linear_bits = (uint8_t)(read_cpuid(0x80000008, 0).eax >> 8),
        .spec_ctrl = features.edx & CPUID_7_EDX_SPEC_CTRL,
        .flush_l1d = features.edx & CPUID_7_EDX_FLUSH_L1D,
        .arch_capabilities = features.edx & CPUID_7_EDX_ARCH_CAPS,
    };
    virt->cpuid_host(&virt_host);
}

// What a guest with all supported CPUID leaves may set in CR4 and IA32_SPEC_CTRL.
static int find_supported_bits(void) {
    uint32_t count = CPUID_MAX_ENTRIES;
    struct kvm_cpuid_entry2 *entries = heap_alloc(count * sizeof(*entries));
    struct guest_cpuid *cpuid = heap_new(struct guest_cpuid);
    int error = -ENOMEM;
    if (entries && cpuid)
        error = cpuid_supported(&virt_host, entries, &count);
    if (!error) {
        guest_cpuid_set(cpuid, entries, count);
        virt_supported_cr4 = cpuid->cr4_allowed;
        virt_host.spec_ctrl_bits = guest_spec_ctrl_bits(cpuid);
    }
    heap_free(cpuid);
    heap_free(entries);
    return error;
}

int virt_cpu_enable(void) {
    static bool enabled[CPU_MAX]; // each CPU its own: a second VMXON would fault
    bool *here = &enabled[this_cpu()->index];
    if (!virt || *here)
        return 0;
    int error = virt->cpu_enable();
    *here = !error;
    return error;
}

static const struct backend *find_backend(void) {
    for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
        const struct backend *backend = &backends[i];
        if (read_cpuid(backend->leaf & 0x80000000, 0).eax >= backend->leaf &&
            (read_cpuid(backend->leaf, 0).ecx & backend->bit))
            return backend;
    }
    log_line("VT-x, AMD-V: not offered by this processor (CPUID.1:ECX.VMX and "
             "CPUID.8000_0001H:ECX.SVM are 0); in a virtual machine turn on nested virtualization, "
             "else use a processor with one of them");
    return NULL;
}

int virt_init(void) {
    const struct backend *backend = find_backend();
    if (!backend || backend->probe())
        return -ENODEV;
    virt = backend->ops;
    find_host();
    int error = virt_cpu_enable();
    if (!error)
        error = find_supported_bits();
    if (error) {
        log_line("%s: could not be turned on (error %d)", virt->name, error);
        virt = NULL;
        return -ENODEV;
    }
    return 0;
}

void virt_user_return(void) {
    virt->user_return();
}

void virt_leave_cpu(void) {
    if (virt && virt->leave_cpu)
        virt->leave_cpu();
}

// Only MSRs that CPUID vouches for are read: others may fault.
uint64_t virt_host_msr(uint32_t index) {
    return index == MSR_ARCH_CAPABILITIES && virt_host.arch_capabilities ? read_msr(index) : 0;
}
