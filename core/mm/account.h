// SPDX-License-Identifier: BSD-2-Clause
// Memory account: what a process may hold of user and kernel memory. Charged on allocation,
// uncharged on free.
#pragma once
#include <stdatomic.h>
#include <stddef.h>

struct memory_account {
    atomic_size_t used; // bytes
    size_t limit;       // bytes; 0: none
};

// Returns 0 or -ENOMEM (limit reached; nothing charged). account NULL is the kernel itself: never
// refused, still counted.
int account_charge(struct memory_account *account, size_t bytes);
void account_uncharge(struct memory_account *account, size_t bytes);
extern struct memory_account kernel_account;
