// SPDX-License-Identifier: BSD-2-Clause
// Finds VT-x, says what is missing, and turns it on a CPU at a time (SDM vol. 3 24.6, 24.7).
#include <asm/errno.h>
#include <asm/processor-flags.h>
#include "arch/x86/vmx/vcpu.h"
#include "core/log.h"
#include "core/mm/page.h"

#define FEATURE_CONTROL_LOCK (1ull << 0)
#define FEATURE_CONTROL_VMX  (1ull << 2) // outside SMX

// IA32_FEATURE_CONTROL: firmware may have left it open, or locked it with VT-x on or off.
static bool feature_control_allows(void) {
    uint64_t control = read_msr(MSR_FEATURE_CONTROL);
    if (!(control & FEATURE_CONTROL_LOCK)) {
        write_msr(MSR_FEATURE_CONTROL, control | FEATURE_CONTROL_LOCK | FEATURE_CONTROL_VMX);
        return true;
    }
    return control & FEATURE_CONTROL_VMX;
}

int vmx_probe(void) {
    if (!feature_control_allows()) {
        log_line("VT-x: locked off by the firmware (IA32_FEATURE_CONTROL); turn on \"Intel "
                 "Virtualization "
                 "Technology\" in the firmware setup and power the machine off and on");
        return -ENODEV;
    }
    const char *missing = vmx_capabilities_read(&vmx, read_msr);
    if (missing) {
        log_line("VT-x: %s; a processor with EPT and unrestricted guest is needed (Intel Core "
                 "since 2010)",
                 missing);
        return -ENODEV;
    }
    virt_logs_writes = vmx.write_log;
    return vmx_msr_init();
}

int vmx_cpu_enable(void) {
    struct cpu *cpu = this_cpu();
    if (!feature_control_allows()) {
        log_line("VT-x: locked off by the firmware on CPU %u; turn it on in the firmware setup",
                 cpu->index);
        return -ENODEV;
    }
    uint64_t region = page_alloc_zeroed(0);
    if (region == PHYSICAL_NONE)
        return -ENOMEM;
    *(uint32_t *)page_to_virtual(region) = vmx.revision;
    write_cr0((read_cr0() | vmx.cr0_fixed0) & vmx.cr0_fixed1);
    write_cr4(read_cr4() | X86_CR4_VMXE);
    if (!vmx_on(region)) {
        log_line("VT-x: VMXON failed on CPU %u", cpu->index);
        page_put(region);
        return -EIO;
    }
    vmx_msr_cpu_init();
    // Whatever ran here before us may have left translations (SDM vol. 3 29.4.3.4).
    vmx_invept(INVALIDATE_ALL, 0);
    vmx_invvpid(INVALIDATE_ALL, 0);
    return 0;
}
