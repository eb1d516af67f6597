// SPDX-License-Identifier: BSD-2-Clause
// The only way the kernel touches user memory (SMAP stays on outside these). Page faults inside are
// resolved; what cannot be gives -EFAULT. No lock may be held: a fault takes the address space's.
// The current thread's address space is used.
#pragma once
#include <stddef.h>
#include <stdint.h>

int copy_from_user(void *to, uint64_t from, size_t size); // 0 or -EFAULT
int copy_to_user(uint64_t to, const void *from, size_t size);
// A structure that grows with time, of which we know `known` bytes: what the caller's lacks is
// zero, what it has more must be. 0, -EFAULT or -E2BIG.
int copy_struct_from_user(void *to, size_t known, uint64_t from, uint64_t size);
int clear_user(uint64_t to, size_t size);
// Length without NUL, -EFAULT, or -ENAMETOOLONG when no NUL within size bytes.
int64_t copy_string_from_user(char *to, uint64_t from, size_t size);
int user_load_32(uint32_t *value, uint64_t from); // atomic, for futex
int user_store_32(uint64_t to, uint32_t value);
int user_store_64(uint64_t to, uint64_t value);
// Sets *old to the value found; stores `replacement` if it was `expected`. 0 or -EFAULT.
int user_compare_exchange_64(uint64_t address, uint64_t expected, uint64_t replacement,
                             uint64_t *old, unsigned size);

// Between the two an access to memory that is not mapped for it fails instead of bringing it in:
// for a few bytes where nothing may wait. Nothing else happens in between.
struct user_faults {
    struct address_space *space;
    uint64_t cr2;
};
void user_faults_off(struct user_faults *saved);
void user_faults_on(const struct user_faults *saved);
