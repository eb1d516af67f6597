// SPDX-License-Identifier: BSD-2-Clause
// initrd.cpio: a cpio archive in the newc format (magic 070701), as the kernel reads it.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Walks the headers of the archive (SIZE bytes, any content). Returns NULL, or the reason why it is
// damaged with the byte offset of the bad entry in *offset.
const char *initrd_check(const uint8_t *archive, size_t size, size_t *offset);
