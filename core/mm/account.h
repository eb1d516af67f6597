// SPDX-License-Identifier: BSD-2-Clause
// Memory account: what a program, with everything it starts, may hold. Each block of pages
// remembers the account it was charged to, so whoever frees it, the right one is credited.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct memory_budget {
    atomic_size_t used; // bytes
    size_t limit;       // bytes; 0: none
};

// What the accounts of several programs share: memory.max of a control group. The limit refuses
// user memory.
struct memory_group {
    struct memory_group *parent;                 // charged too; NULL: none
    struct memory_budget total;                  // user and kernel memory
    atomic_size_t kernel;                        // of these, the kernel's
    atomic_ulong refused;                        // charges that this limit refused
    void (*release)(struct memory_group *group); // an account no longer needs it
};

struct memory_account {
    atomic_uint references;         // 0: nobody can charge it any more; pages may still be its
    struct memory_budget user;      // anonymous and shared pages
    struct memory_budget kernel;    // what the kernel holds because of this program
    struct memory_account *program; // whose limits are its too, with a reference; NULL: its own
    struct memory_group *group;     // with a reference; NULL: none
};

enum { ACCOUNT_MAX = 256 };

// An account with one reference and limits in bytes (0: none). NULL: there are too many.
struct memory_account *account_create(size_t user_limit, size_t kernel_limit);
// The account, of the same program as `account`, whose charges go to `group`, with a reference;
// takes over the caller's reference on the group. NULL: there are too many.
struct memory_account *account_in_group(struct memory_account *account, struct memory_group *group);
bool account_same_program(const struct memory_account *a, const struct memory_account *b);
void account_get(struct memory_account *account);
// NULL is allowed. After the last one the account is used again once its pages are gone.
void account_put(struct memory_account *account);
// Returns 0 or -ENOMEM (limit reached; nothing charged). account NULL is the kernel itself: never
// refused, still counted.
int account_charge(struct memory_account *account, size_t bytes, bool kernel);
void account_uncharge(struct memory_account *account, size_t bytes, bool kernel);
// Small numbers for struct page; 0 is NULL, the kernel.
unsigned account_id(const struct memory_account *account);
struct memory_account *account_of_id(unsigned id);
// Whether it leaves the last of RAM to others (page.h): all with a limit do.
bool account_is_limited(const struct memory_account *account);

extern struct memory_account kernel_account;

// Who pays for what is allocated now: the current process's account, or NULL. core/process has it.
struct memory_account *account_of_caller(void);
