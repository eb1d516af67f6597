// SPDX-License-Identifier: BSD-2-Clause
// Charging memory to those who cause it.
#include "core/mm/account.h"
#include <asm/errno.h>
#include "core/log.h"
#include "core/mm/page.h"
#include "core/sched/spinlock.h"

struct memory_account kernel_account;

static struct {
    struct spinlock lock; // for taking one into use
    struct memory_account account[ACCOUNT_MAX - 1];
} table;

static size_t used(struct memory_budget *budget) {
    return atomic_load_explicit(&budget->used, memory_order_relaxed);
}

static struct memory_account *take_free(void) {
    struct memory_account *found = NULL;
    spin_lock(&table.lock);
    for (unsigned i = 0; i < ACCOUNT_MAX - 1 && !found; i++) {
        struct memory_account *account = &table.account[i];
        if (!atomic_load(&account->references) && !used(&account->user) && !used(&account->kernel))
            found = account;
    }
    if (found)
        atomic_store(&found->references, 1);
    spin_unlock(&table.lock);
    return found;
}

struct memory_account *account_create(size_t user_limit, size_t kernel_limit) {
    struct memory_account *account = take_free();
    if (!account) {
        // Pages of ended programs (what they left in files, a slab they filled) keep accounts busy.
        page_disown();
        account = take_free();
    }
    if (!account)
        return NULL;
    account->user.limit = user_limit;
    account->kernel.limit = kernel_limit;
    return account;
}

void account_get(struct memory_account *account) {
    atomic_fetch_add(&account->references, 1);
}

void account_put(struct memory_account *account) {
    if (!account)
        return;
    unsigned before = atomic_fetch_sub(&account->references, 1);
    ASSERT(before > 0);
}

int account_charge(struct memory_account *account, size_t bytes, bool kernel) {
    if (!account)
        account = &kernel_account;
    struct memory_budget *budget = kernel ? &account->kernel : &account->user;
    size_t before = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed);
    if (budget->limit && (before > budget->limit || bytes > budget->limit - before)) {
        atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
        return -ENOMEM;
    }
    return 0;
}

void account_uncharge(struct memory_account *account, size_t bytes, bool kernel) {
    if (!account)
        account = &kernel_account;
    struct memory_budget *budget = kernel ? &account->kernel : &account->user;
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

unsigned account_id(const struct memory_account *account) {
    return account ? (unsigned)(account - table.account) + 1 : 0;
}

struct memory_account *account_of_id(unsigned id) {
    return id ? &table.account[id - 1] : NULL;
}

bool account_is_limited(const struct memory_account *account) {
    return account && (account->user.limit || account->kernel.limit);
}
