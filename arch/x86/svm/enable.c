// SPDX-License-Identifier: BSD-2-Clause
// Finds AMD-V, says what is missing, and turns it on a CPU at a time (APM vol. 2 15.4).
#include <asm/errno.h>
#include "arch/x86/svm/vcpu.h"
#include "core/log.h"
#include "core/mm/page.h"

struct svm_cpu svm_cpus[CPU_MAX];

// VM_CR: firmware may have switched SVM off, for good or until somebody switches it on again.
static bool firmware_allows(void) {
    uint64_t control = read_msr(MSR_VM_CR);
    if (!(control & VM_CR_DISABLED))
        return true;
    if (control & VM_CR_LOCK)
        return false;
    write_msr(MSR_VM_CR, control & ~VM_CR_DISABLED);
    return true;
}

int svm_probe(void) {
    if (!firmware_allows()) {
        log_line("AMD-V: locked off by the firmware (VM_CR.SVMDIS); turn on \"SVM mode\" or "
                 "\"AMD-V\" in the firmware setup and power the machine off and on");
        return -ENODEV;
    }
    const char *missing = svm_capabilities_read(&svm, read_cpuid);
    if (missing) {
        log_line("AMD-V: %s; a processor with nested paging is needed (AMD since 2008)", missing);
        return -ENODEV;
    }
    return svm_permission_maps_init();
}

int svm_cpu_enable(void) {
    struct cpu *cpu = this_cpu();
    struct svm_cpu *own = &svm_cpus[cpu->index];
    if (!firmware_allows()) {
        log_line("AMD-V: locked off by the firmware on CPU %u; turn it on in the firmware setup",
                 cpu->index);
        return -ENODEV;
    }
    uint64_t save = page_alloc_zeroed(0), host = page_alloc_zeroed(0);
    if (save == PHYSICAL_NONE || host == PHYSICAL_NONE) {
        if (save != PHYSICAL_NONE)
            page_put(save);
        if (host != PHYSICAL_NONE)
            page_put(host);
        return -ENOMEM;
    }
    write_msr(MSR_EFER, read_msr(MSR_EFER) | EFER_SVME);
    write_msr(MSR_VM_HSAVE_PA, save);
    *own = (struct svm_cpu){.host_vmcb = host,
                            .asid_generation = 1,
                            .tsc_ratio = TSC_RATIO_ONE,
                            .tsc_aux = svm.rdtscp ? read_msr(MSR_TSC_AUX) : 0};
    // Whatever ran here before us may have left translations: the first ASID begins with a flush.
    own->next_asid = svm.asids;
    if (svm.tsc_ratio)
        write_msr(MSR_TSC_RATIO, TSC_RATIO_ONE);
    return 0;
}
