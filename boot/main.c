// SPDX-License-Identifier: BSD-2-Clause
// The UEFI loader, \EFI\BOOT\BOOTX64.EFI: reads kernel, initrd and configuration, describes the
// machine to the kernel, leaves the firmware and jumps. Whatever is wrong is said in one line, and
// the loader returns to the firmware.
#include "boot/allocation.h"
#include "boot/console.h"
#include "boot/file.h"
#include "boot/firmware_exit.h"
#include "boot/initrd.h"
#include "boot/kernel_image.h"
#include "boot/machine.h"
#include "boot/page_tables.h"
#include "core/config.h"
#include <ashlar_version.h>

#define GIB          (1ull << 30)
#define KERNEL_ALIGN (2ull << 20)
#define STACK_SIZE   (64ull << 10)
#define MINIMUM_FREE (24ull << 20) // what the kernel, init and one small program need
#define READING_TIME (3 * 1000000) // microseconds for which an error stays on the screen
#define CR4_LA57     (1ull << 12)

struct loader {
    EFI_HANDLE image;
    EFI_SYSTEM_TABLE *system_table;
    EFI_BOOT_SERVICES *services;
    struct file_content kernel_file, initrd_file, config_file;
    struct kernel_image kernel;
    struct boot_info *info;
    struct firmware_map map;
    uint64_t cr3, stack_top;
};

static EFI_STATUS too_little_memory(const char *purpose, uint64_t size) {
    console_print("Ashlar loader: too little memory: no %lu KiB for %s\n",
                  (unsigned long)(size / 1024), purpose);
    return EFI_OUT_OF_RESOURCES;
}

static EFI_STATUS load_config(struct loader *loader) {
    struct file_content *file = &loader->config_file;
    EFI_STATUS status = file_read(loader->image, loader->system_table, file, BOOT_MEMORY_KERNEL);
    if (EFI_ERROR(status))
        return status;
    struct config config;
    struct config_error error;
    if (config_parse((const char *)file->data, file->size, &config, &error) == 0)
        return EFI_SUCCESS;
    console_print("Ashlar loader: %s: line %lu: %s", file->name, (unsigned long)error.line,
                  error.reason);
    if (error.word)
        console_print(": \"%.*s\"", (int)error.word_length, error.word);
    console_print("\n");
    return EFI_LOAD_ERROR;
}

static EFI_STATUS load_kernel(struct loader *loader) {
    struct file_content *file = &loader->kernel_file;
    EFI_STATUS status = file_read(loader->image, loader->system_table, file, BOOT_MEMORY_LOADER);
    if (EFI_ERROR(status))
        return status;
    const char *reason = kernel_image_check(file->data, file->size, &loader->kernel);
    if (reason) {
        console_print("Ashlar loader: %s: %s\n", file->name, reason);
        return EFI_LOAD_ERROR;
    }
    uint8_t *memory = allocation_take(loader->services, loader->kernel.size, KERNEL_ALIGN, 4 * GIB,
                                      BOOT_MEMORY_KERNEL);
    if (!memory)
        return too_little_memory("the kernel", loader->kernel.size);
    kernel_image_load(file->data, &loader->kernel, memory);
    allocation_release(loader->services, file->data);
    loader->info->kernel_physical = (uint64_t)memory;
    loader->info->kernel_size = loader->kernel.size;
    return EFI_SUCCESS;
}

static EFI_STATUS load_initrd(struct loader *loader) {
    struct file_content *file = &loader->initrd_file;
    EFI_STATUS status = file_read(loader->image, loader->system_table, file, BOOT_MEMORY_INITRD);
    if (EFI_ERROR(status))
        return status;
    size_t offset;
    const char *reason = initrd_check(file->data, file->size, &offset);
    if (!reason)
        return EFI_SUCCESS;
    console_print("Ashlar loader: %s: at byte %lu: %s\n", file->name, (unsigned long)offset,
                  reason);
    return EFI_LOAD_ERROR;
}

static EFI_STATUS take_boot_info(struct loader *loader) {
    loader->info = allocation_take(loader->services, sizeof(*loader->info), EFI_PAGE_SIZE, 4 * GIB,
                                   BOOT_MEMORY_KERNEL);
    if (!loader->info)
        return too_little_memory("the boot information", sizeof(*loader->info));
    __builtin_memset(loader->info, 0, sizeof(*loader->info));
    loader->info->magic = BOOT_INFO_MAGIC;
    return EFI_SUCCESS;
}

// The end of the highest memory the kernel may touch through the loader's tables.
static uint64_t memory_top(const struct boot_info *info) {
    uint64_t top = 0;
    for (uint32_t i = 0; i < info->memory_range_count; i++) {
        const struct boot_memory_range *range = &info->memory[i];
        if (range->type != BOOT_MEMORY_RESERVED && range->base + range->size > top)
            top = range->base + range->size;
    }
    return top;
}

static EFI_STATUS prepare_start(struct loader *loader) {
    EFI_STATUS status = firmware_map_start(loader->services, &loader->map);
    if (EFI_ERROR(status))
        return too_little_memory("the memory map", EFI_PAGE_SIZE);
    status = firmware_map_read(loader->services, &loader->map, loader->info);
    if (EFI_ERROR(status))
        return status;
    uint64_t top = memory_top(loader->info);
    uint64_t size = page_tables_size(top);
    void *tables =
        allocation_take(loader->services, size, EFI_PAGE_SIZE, 4 * GIB, BOOT_MEMORY_LOADER);
    if (!tables)
        return too_little_memory("page tables", size);
    void *stack =
        allocation_take(loader->services, STACK_SIZE, EFI_PAGE_SIZE, 4 * GIB, BOOT_MEMORY_LOADER);
    if (!stack)
        return too_little_memory("a stack", STACK_SIZE);
    loader->cr3 =
        page_tables_build(tables, top, loader->info->kernel_physical, loader->info->kernel_size);
    loader->stack_top = (uint64_t)stack + STACK_SIZE;

    status = firmware_map_read(loader->services, &loader->map, loader->info);
    if (EFI_ERROR(status))
        return status;
    struct memory_map map = {.range = loader->info->memory,
                             .count = loader->info->memory_range_count};
    uint64_t free = memory_map_total(&map, BOOT_MEMORY_FREE);
    if (free < MINIMUM_FREE) {
        console_print("Ashlar loader: too little memory: %lu KiB are free, Ashlar needs %lu KiB\n",
                      (unsigned long)(free / 1024), (unsigned long)(MINIMUM_FREE / 1024));
        return EFI_OUT_OF_RESOURCES;
    }
    return EFI_SUCCESS;
}

static EFI_STATUS check_paging_mode(void) {
    uint64_t cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    if (!(cr4 & CR4_LA57))
        return EFI_SUCCESS;
    // The mode cannot be changed without leaving long mode (SDM volume 3, section 4.1.2).
    console_print("Ashlar loader: firmware uses 5-level paging; turn it off in the setup\n");
    return EFI_UNSUPPORTED;
}

static EFI_STATUS load(struct loader *loader) {
    EFI_STATUS status = check_paging_mode();
    if (!EFI_ERROR(status))
        status = take_boot_info(loader);
    if (!EFI_ERROR(status))
        status = load_config(loader);
    if (!EFI_ERROR(status))
        status = load_kernel(loader);
    if (!EFI_ERROR(status))
        status = load_initrd(loader);
    if (EFI_ERROR(status))
        return status;
    struct boot_info *info = loader->info;
    info->initrd_physical = (uint64_t)loader->initrd_file.data;
    info->initrd_size = loader->initrd_file.size;
    info->config_physical = (uint64_t)loader->config_file.data;
    info->config_size = loader->config_file.size;
    machine_describe(loader->system_table, info);
    return prepare_start(loader);
}

__attribute__((noreturn)) static void halt(void) {
    for (;;)
        __asm__ volatile("cli; hlt");
}

__attribute__((noreturn)) static void enter_kernel(struct loader *loader) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    loader->info->entry_tsc = (uint64_t)high << 32 | low;
    // The loader's code and stack are identity mapped in both sets of tables.
    __asm__ volatile("mov %0, %%cr3\n\t"
                     "mov %1, %%rsp\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "call *%2\n\t"
                     "ud2"
                     :
                     : "r"(loader->cr3), "r"(loader->stack_top), "r"(loader->kernel.entry),
                       "D"(loader->info)
                     : "memory");
    halt();
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table) {
    static struct loader loader = {
        .kernel_file = {.path = L"\\ashlar\\kernel.elf", .name = "\\ashlar\\kernel.elf"},
        .initrd_file = {.path = L"\\ashlar\\initrd.cpio", .name = "\\ashlar\\initrd.cpio"},
        .config_file = {.path = L"\\ashlar\\ashlar.conf", .name = "\\ashlar\\ashlar.conf"},
    };
    loader.image = image;
    loader.system_table = system_table;
    loader.services = system_table->BootServices;
    console_start(system_table);
    console_print("Ashlar loader " ASHLAR_VERSION "\n");
    loader.services->SetWatchdogTimer(0, 0, 0, NULL);

    EFI_STATUS status = load(&loader);
    if (EFI_ERROR(status)) {
        allocation_release_all(loader.services);
        loader.services->Stall(READING_TIME);
        return status;
    }
    status = firmware_exit(image, loader.services, &loader.map, loader.info);
    if (EFI_ERROR(status)) {
        // Half of the firmware may be gone already: there is nothing to go back to.
        console_print("Ashlar loader: firmware does not let go of the machine (EFI status %lx)\n",
                      (unsigned long)(status & ~EFI_ERROR_MASK));
        halt();
    }
    enter_kernel(&loader);
}
