// SPDX-License-Identifier: BSD-2-Clause
// Files on the volume the loader itself was started from.
#pragma once
#include "boot/boot_info.h"
#include <efi.h>

struct file_content {
    const CHAR16 *path; // as firmware takes it, e.g. L"\\ashlar\\kernel.elf"
    const char *name;   // the same for messages
    uint8_t *data;      // page aligned; recorded by allocation.h as TYPE
    uint64_t size;      // bytes
};

// Reads file->path whole into pages of TYPE. On failure says why on the console and returns the
// firmware's status.
EFI_STATUS file_read(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table, struct file_content *file,
                     enum boot_memory_type type);
