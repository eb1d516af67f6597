// SPDX-License-Identifier: BSD-2-Clause
// Writing into an address space that is not loaded: exec fills the new program's memory through its
// pages.
#pragma once
#include <stddef.h>
#include <stdint.h>

struct address_space;

int space_write(struct address_space *space, uint64_t address, const void *data,
                size_t size); // 0 or -errno
int space_clear(struct address_space *space, uint64_t address, size_t size);
