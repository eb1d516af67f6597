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

// Lock held. What the last user of the account held on to.
static void recycle(struct memory_account *account) {
    if (account->program)
        account_put(account->program);
    if (account->group)
        account->group->release(account->group);
    account->program = NULL;
    account->group = NULL;
}

static struct memory_account *take_free(void) {
    struct memory_account *found = NULL;
    spin_lock(&table.lock);
    for (unsigned i = 0; i < ACCOUNT_MAX - 1 && !found; i++) {
        struct memory_account *account = &table.account[i];
        if (!atomic_load(&account->references) && !used(&account->user) && !used(&account->kernel))
            found = account;
    }
    if (found) {
        recycle(found);
        atomic_store(&found->references, 1);
    }
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

static const struct memory_account *program_of(const struct memory_account *account) {
    return account->program ? account->program : account;
}

bool account_same_program(const struct memory_account *a, const struct memory_account *b) {
    return program_of(a) == program_of(b);
}

static struct memory_account *find(const struct memory_account *model,
                                   const struct memory_group *group) {
    struct memory_account *found = NULL;
    spin_lock(&table.lock);
    for (unsigned i = 0; i < ACCOUNT_MAX - 1 && !found; i++) {
        struct memory_account *account = &table.account[i];
        if (atomic_load(&account->references) && account->group == group &&
            account_same_program(account, model))
            found = account;
    }
    if (found)
        account_get(found);
    spin_unlock(&table.lock);
    return found;
}

struct memory_account *account_in_group(struct memory_account *account,
                                        struct memory_group *group) {
    struct memory_account *found = find(account, group);
    if (!found && (found = account_create(0, 0))) {
        found->program = account->program ? account->program : account;
        account_get(found->program);
        found->group = group;
    } else if (group) {
        group->release(group);
    }
    return found;
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

static int budget_charge(struct memory_budget *budget, size_t bytes) {
    size_t before = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed);
    if (!budget->limit || (before <= budget->limit && bytes <= budget->limit - before))
        return 0;
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
    return -ENOMEM;
}

static void budget_uncharge(struct memory_budget *budget, size_t bytes) {
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}

// Up to `end`, which is not charged.
static void group_uncharge(struct memory_group *group, const struct memory_group *end, size_t bytes,
                           bool kernel) {
    for (; group != end; group = group->parent) {
        budget_uncharge(&group->total, bytes);
        if (kernel)
            atomic_fetch_sub_explicit(&group->kernel, bytes, memory_order_relaxed);
    }
}

// A group's limit refuses user pages only: at it a program can still make system calls, which need
// a buffer now and then. What the kernel holds because of it has its program's limit.
static int group_charge(struct memory_group *group, size_t bytes, bool kernel) {
    for (struct memory_group *at = group; at; at = at->parent) {
        if (kernel) {
            atomic_fetch_add_explicit(&at->total.used, bytes, memory_order_relaxed);
            atomic_fetch_add_explicit(&at->kernel, bytes, memory_order_relaxed);
        } else if (budget_charge(&at->total, bytes)) {
            atomic_fetch_add_explicit(&at->refused, 1, memory_order_relaxed);
            group_uncharge(group, at, bytes, kernel);
            return -ENOMEM;
        }
    }
    return 0;
}

int account_charge(struct memory_account *account, size_t bytes, bool kernel) {
    if (!account)
        account = &kernel_account;
    struct memory_budget *own = kernel ? &account->kernel : &account->user;
    if (budget_charge(own, bytes))
        return -ENOMEM;
    int error = account->program && kernel ? budget_charge(&account->program->kernel, bytes) : 0;
    if (!error)
        error = group_charge(account->group, bytes, kernel);
    if (error)
        budget_uncharge(own, bytes);
    return error;
}

void account_uncharge(struct memory_account *account, size_t bytes, bool kernel) {
    if (!account)
        account = &kernel_account;
    if (account->program && kernel)
        budget_uncharge(&account->program->kernel, bytes);
    group_uncharge(account->group, NULL, bytes, kernel);
    // Last: an account without charges may be given to another.
    budget_uncharge(kernel ? &account->kernel : &account->user, bytes);
}

unsigned account_id(const struct memory_account *account) {
    return account ? (unsigned)(account - table.account) + 1 : 0;
}

struct memory_account *account_of_id(unsigned id) {
    return id ? &table.account[id - 1] : NULL;
}

bool account_is_limited(const struct memory_account *account) {
    if (!account)
        return false;
    account = program_of(account);
    return account->user.limit || account->kernel.limit;
}
