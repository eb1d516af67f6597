// SPDX-License-Identifier: BSD-2-Clause
// From a machine that is set up to the first program.
#include <cpuid.h>
#include <stdbool.h>
#include <stddef.h>
#include "arch/x86/cpu.h"
#include "arch/x86/iommu/iommu.h"
#include "arch/x86/pci/pci.h"
#include "arch/x86/virt.h"
#include "ashlar_version.h"
#include "boot/boot_info.h"
#include "core/config.h"
#include "core/file/file.h"
#include "core/kvm/vm.h"
#include "core/log.h"
#include "core/mm/heap.h"
#include "core/mm/page.h"
#include "core/process/proc_files.h"
#include "core/process/process.h"
#include "core/process/time.h"
#include "core/sched/scheduler.h"
#include "core/vfio/vfio.h"

#define INIT_PATH       "/init"
#define READING_SECONDS 10 // that a message stays on the screen before the machine goes off

void kernel_main(struct boot_info *info);

static const char *skip_blanks(const char *text) {
    while (*text == ' ')
        text++;
    return text;
}

// The processor's brand string (SDM vol. 2A, CPUID, 8000_0002H).
static void log_machine(const struct boot_info *info) {
    uint32_t brand[13] = {0};
    if (__get_cpuid_max(0x80000000, NULL) >= 0x80000004)
        for (unsigned leaf = 0; leaf < 3; leaf++)
            __cpuid(0x80000002 + leaf, brand[4 * leaf], brand[4 * leaf + 1], brand[4 * leaf + 2],
                    brand[4 * leaf + 3]);
    log_line("machine: %s, %s", *brand ? skip_blanks((const char *)brand) : "unnamed processor",
             info->acpi_rsdp ? "ACPI" : "no ACPI");
    log_line("CPUs: %u, TSC %lu MHz", cpu_count(), time_tsc_khz() / 1000);
    char iommu[128];
    if (iommu_describe(iommu, sizeof iommu))
        log_line("IOMMU: %s", iommu);
}

static void log_memory(void) {
    log_line("memory: %lu MiB for programs, kernel memory %lu KiB", page_free_bytes() >> 20,
             kernel_memory_bytes() >> 10);
}

static void read_config(const struct boot_info *info, struct config *config) {
    struct config_error error;
    const char *text = page_to_virtual(info->config_physical);
    *config = (struct config){0};
    // The loader has checked it already.
    if (info->config_size && config_parse(text, info->config_size, config, &error))
        log_line("ashlar.conf:%u: %s", error.line, error.reason);
}

static _Noreturn void stop(const char *reason) {
    log_line("%s; powering off in %u seconds", reason, READING_SECONDS);
    for (uint64_t end = time_now() + READING_SECONDS * NS_PER_SECOND; time_now() < end;)
        __builtin_ia32_pause();
    machine_power_off();
}

static _Atomic unsigned virt_failures;

static void enable_virt(void *argument) {
    if (virt_cpu_enable())
        atomic_fetch_add(&virt_failures, 1);
}

static void start_virt(const struct config *config) {
    if (virt_init()) {
        if (!config_is(config, CONFIG_VIRT, "optional"))
            stop("Ashlar needs hardware virtualization (VT-x or AMD-V)");
        log_line("VT-x, AMD-V: none, going on without /dev/kvm (virt = optional)");
        return;
    }
    uint64_t others[CPU_MAX / 64] = {0};
    for (unsigned i = 0; i < cpu_count(); i++)
        if (i != this_cpu()->index)
            others[i / 64] |= 1ull << i % 64;
    if (cpu_count() > 1)
        cpu_call(others, enable_virt, NULL);
    if (atomic_load(&virt_failures))
        stop("hardware virtualization could not be turned on on every CPU");
    if (!config_is(config, CONFIG_LOG, "quiet")) {
        char features[256];
        virt->describe(features, sizeof features);
        log_line("%s: %s", virt->name, features);
    }
    kvm_register();
}

static void start_files(const struct boot_info *info) {
    int error = root_init(page_to_virtual(info->initrd_physical), info->initrd_size,
                          page_to_virtual(info->config_physical), info->config_size);
    if (error || cgroup_mount() || numa_files_add())
        stop("the initrd cannot be read");
    proc_files_init();
}

// Without a word in the configuration only an emulator's devices are trusted: all they reach is an
// emulator's memory.
static void start_devices(const struct boot_info *info, const struct config *config) {
    pci_init(info->framebuffer.base, config_is(config, CONFIG_LOG, "quiet"));
    bool trusted = config_is(config, CONFIG_DMA, "trusted") ||
                   (!config_is(config, CONFIG_DMA, "isolated") && pci_is_emulated());
    vfio_register(trusted);
    if (trusted && !iommu_present())
        pagemap_register();
}

void kernel_main(struct boot_info *info) {
    struct config config;
    read_config(info, &config);
    bool quiet = config_is(&config, CONFIG_LOG, "quiet");
    if (scheduler_cpu_init(this_cpu()))
        panic("no memory for the scheduler");
    if (!quiet) {
        log_line("Ashlar %s", ASHLAR_VERSION);
        log_machine(info);
    }
    start_files(info);
    start_devices(info, &config);
    start_virt(&config);
    if (config_is(&config, CONFIG_CORES, "separate") && scheduler_separate_processes())
        panic("no memory for core scheduling");
    if (!quiet)
        log_memory();
    int error = process_start_init(INIT_PATH);
    if (error)
        panic("%s: error %d", INIT_PATH, -error);
    scheduler_idle();
}
