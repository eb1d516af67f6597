// SPDX-License-Identifier: BSD-2-Clause
// The vDSO (vdso(7)) in every program's address space: clocks and getcpu without a system call.
#pragma once
#include <stdint.h>

struct address_space;

// Before the first program. 0 or -ENOMEM.
int vdso_init(void);
// Maps it into a new address space. 0 and its ELF header's address (AT_SYSINFO_EHDR), or -errno.
int vdso_map(struct address_space *space, uint64_t *address);
