// SPDX-License-Identifier: BSD-2-Clause
// Charging memory to those who cause it.
#include "core/mm/account.h"
#include <asm/errno.h>

struct memory_account kernel_account;

int account_charge(struct memory_account *account, size_t bytes) {
    if (!account)
        account = &kernel_account;
    size_t before = atomic_fetch_add_explicit(&account->used, bytes, memory_order_relaxed);
    if (account->limit && (before > account->limit || bytes > account->limit - before)) {
        atomic_fetch_sub_explicit(&account->used, bytes, memory_order_relaxed);
        return -ENOMEM;
    }
    return 0;
}

void account_uncharge(struct memory_account *account, size_t bytes) {
    if (!account)
        account = &kernel_account;
    atomic_fetch_sub_explicit(&account->used, bytes, memory_order_relaxed);
}
