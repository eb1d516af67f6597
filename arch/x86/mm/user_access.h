// SPDX-License-Identifier: BSD-2-Clause
// Raw access to user memory: opens SMAP, moves the bytes, closes it. Page faults inside are
// resolved by the current address space; those that cannot be end the access through the fixup
// table. Range checks are core/mm/user_copy.c's.
#pragma once
#include <stddef.h>
#include <stdint.h>

// Either side may be user memory. Returns the bytes NOT copied (0: all done).
size_t user_access_copy(void *to, const void *from, size_t size);
// Returns the bytes NOT cleared.
size_t user_access_clear(void *to, size_t size);
// Copies up to and including the NUL. Length without NUL, `size` when no NUL within size bytes, -1
// on a fault.
int64_t user_access_string(char *to, const char *from, size_t size);

// Single naturally aligned accesses (atomic). 0, or nonzero on an unresolvable fault.
int user_access_load_32(uint32_t *value, const uint32_t *from);
int user_access_load_64(uint64_t *value, const uint64_t *from);
int user_access_store_32(uint32_t *to, uint32_t value);
int user_access_store_64(uint64_t *to, uint64_t value);
// Locked compare and exchange; *expected is replaced by the value found (equal to it: stored). size
// is 1, 2, 4 or 8.
int user_access_compare_exchange(void *address, uint64_t *expected, uint64_t replacement,
                                 unsigned size);
