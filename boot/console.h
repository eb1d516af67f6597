// SPDX-License-Identifier: BSD-2-Clause
// The loader's messages: firmware console, and COM1 where the firmware's console does not already
// go there.
#pragma once
#include <efi.h>

void console_start(EFI_SYSTEM_TABLE *system_table);

// After ExitBootServices only COM1 is left.
void console_leave_firmware(void);

// Formats as core/log.h's. Ends no line by itself.
void console_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
