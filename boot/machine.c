// SPDX-License-Identifier: BSD-2-Clause
// What only firmware can say about the machine: ACPI root, framebuffer, CPU list.
#include "boot/machine.h"
#include <stdbool.h>

// EFI_MP_SERVICES_PROTOCOL, UEFI Platform Initialization 1.7, volume 2, section 13.4; gnu-efi has
// no header for it.
#define MP_SERVICES_GUID                                                                           \
    {                                                                                              \
        0x3fdda605, 0xa76e, 0x4f46, {                                                              \
            0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08                                         \
        }                                                                                          \
    }
#define PROCESSOR_IS_BSP  1u
#define PROCESSOR_ENABLED 2u

struct processor_information {
    uint64_t id; // the local APIC ID
    uint32_t status;
    uint32_t location[3];
    uint32_t extended_location[6];
    uint32_t spare[16]; // room for what later versions append
};

struct mp_services {
    EFI_STATUS(EFIAPI *get_number)(struct mp_services *, UINTN *all, UINTN *enabled);
    EFI_STATUS(EFIAPI *get_information)
    (struct mp_services *, UINTN, struct processor_information *);
};

static bool guid_equal(const EFI_GUID *a, const EFI_GUID *b) {
    const uint8_t *x = (const uint8_t *)a, *y = (const uint8_t *)b;
    for (unsigned i = 0; i < sizeof(*a); i++) {
        if (x[i] != y[i])
            return false;
    }
    return true;
}

static uint64_t configuration_table(EFI_SYSTEM_TABLE *system_table, const EFI_GUID *guid) {
    for (UINTN i = 0; i < system_table->NumberOfTableEntries; i++) {
        EFI_CONFIGURATION_TABLE *table = &system_table->ConfigurationTable[i];
        if (guid_equal(&table->VendorGuid, guid))
            return (uint64_t)table->VendorTable;
    }
    return 0;
}

static void describe_acpi(EFI_SYSTEM_TABLE *system_table, struct boot_info *info) {
    static const EFI_GUID acpi_2 = ACPI_20_TABLE_GUID, acpi_1 = ACPI_TABLE_GUID;
    info->acpi_rsdp = configuration_table(system_table, &acpi_2);
    if (info->acpi_rsdp == 0)
        info->acpi_rsdp = configuration_table(system_table, &acpi_1);
}

// The colour shifts of a 32-bit pixel. False for a mode that has no such linear framebuffer.
static bool pixel_format(const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode,
                         struct boot_framebuffer *framebuffer) {
    const EFI_PIXEL_BITMASK *mask = &mode->PixelInformation;
    switch (mode->PixelFormat) {
    case PixelRedGreenBlueReserved8BitPerColor:
        framebuffer->red_shift = 0, framebuffer->green_shift = 8, framebuffer->blue_shift = 16;
        return true;
    case PixelBlueGreenRedReserved8BitPerColor:
        framebuffer->red_shift = 16, framebuffer->green_shift = 8, framebuffer->blue_shift = 0;
        return true;
    case PixelBitMask:
        if (mask->RedMask == 0 || mask->GreenMask == 0 || mask->BlueMask == 0)
            return false;
        framebuffer->red_shift = (uint32_t)__builtin_ctz(mask->RedMask);
        framebuffer->green_shift = (uint32_t)__builtin_ctz(mask->GreenMask);
        framebuffer->blue_shift = (uint32_t)__builtin_ctz(mask->BlueMask);
        // Only 8-bit colours in 32-bit pixels: the top bit of a pixel belongs to a mask or is
        // reserved.
        return mask->RedMask >> framebuffer->red_shift == 0xff &&
               mask->GreenMask >> framebuffer->green_shift == 0xff &&
               mask->BlueMask >> framebuffer->blue_shift == 0xff &&
               ((mask->RedMask | mask->GreenMask | mask->BlueMask | mask->ReservedMask) >> 24) != 0;
    default:
        return false;
    }
}

static void describe_framebuffer(EFI_BOOT_SERVICES *services, struct boot_info *info) {
    static EFI_GUID graphics_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *graphics;
    struct boot_framebuffer framebuffer = {.base = 0};
    if (EFI_ERROR(services->LocateProtocol(&graphics_guid, NULL, (void **)&graphics)) ||
        !graphics->Mode || !graphics->Mode->Info)
        return;
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = graphics->Mode->Info;
    if (graphics->Mode->FrameBufferBase == 0 || !pixel_format(mode, &framebuffer))
        return;
    framebuffer.base = graphics->Mode->FrameBufferBase;
    framebuffer.width = mode->HorizontalResolution;
    framebuffer.height = mode->VerticalResolution;
    framebuffer.pitch = mode->PixelsPerScanLine * 4;
    info->framebuffer = framebuffer;
}

static void describe_cpus(EFI_BOOT_SERVICES *services, struct boot_info *info) {
    static EFI_GUID mp_services_guid = MP_SERVICES_GUID;
    struct mp_services *mp;
    UINTN all, enabled;
    if (EFI_ERROR(services->LocateProtocol(&mp_services_guid, NULL, (void **)&mp)) ||
        EFI_ERROR(mp->get_number(mp, &all, &enabled)))
        return;
    uint32_t count = 0;
    for (UINTN i = 0; i < all && count < BOOT_MAX_CPUS; i++) {
        struct processor_information cpu = {.id = 0};
        if (EFI_ERROR(mp->get_information(mp, i, &cpu)) || !(cpu.status & PROCESSOR_ENABLED))
            continue;
        info->cpu_apic_id[count] = (uint32_t)cpu.id;
        if (cpu.status & PROCESSOR_IS_BSP) { // the boot CPU goes first
            info->cpu_apic_id[count] = info->cpu_apic_id[0];
            info->cpu_apic_id[0] = (uint32_t)cpu.id;
        }
        count++;
    }
    info->cpu_count = count;
}

void machine_describe(EFI_SYSTEM_TABLE *system_table, struct boot_info *info) {
    info->efi_system_table = (uint64_t)system_table;
    describe_acpi(system_table, info);
    describe_framebuffer(system_table->BootServices, info);
    describe_cpus(system_table->BootServices, info);
}
