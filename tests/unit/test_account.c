// SPDX-License-Identifier: BSD-2-Clause
// Memory accounts, and pages that know theirs.
// Sources: tests/unit/fake_memory.c core/mm/page.c arch/x86/mm/page_walker.c
// Sources: arch/x86/mm/page_format.c core/mm/heap.c
#include <asm/errno.h>
#include <check.h>
#include "core/mm/account.h"
#include "core/mm/page.h"
#include "tests/unit/fake_memory.h"

START_TEST(charges_stop_at_the_limit) {
    struct memory_account *account = account_create(100, 50);
    ck_assert_int_eq(account_charge(account, 60, false), 0);
    ck_assert_int_eq(account_charge(account, 41, false), -ENOMEM);
    ck_assert_int_eq(account_charge(account, SIZE_MAX, false), -ENOMEM);
    ck_assert_uint_eq(account->user.used, 60);
    ck_assert_int_eq(account_charge(account, 40, false), 0);
    ck_assert_int_eq(account_charge(account, 51, true), -ENOMEM);
    ck_assert_int_eq(account_charge(account, 50, true), 0);
    ck_assert_uint_eq(account->kernel.used, 50);
    account_uncharge(account, 100, false);
    ck_assert_uint_eq(account->user.used, 0);
}
END_TEST

START_TEST(no_account_is_the_kernel) {
    size_t before = kernel_account.kernel.used;
    ck_assert_int_eq(account_charge(NULL, 1ul << 40, true), 0);
    ck_assert_uint_eq(kernel_account.kernel.used, before + (1ul << 40));
    account_uncharge(NULL, 1ul << 40, true);
    ck_assert_uint_eq(kernel_account.kernel.used, before);
}
END_TEST

START_TEST(numbers_name_accounts) {
    struct memory_account *a = account_create(0, 0), *b = account_create(1, 0);
    ck_assert_uint_ne(account_id(a), 0);
    ck_assert_uint_ne(account_id(a), account_id(b));
    ck_assert_ptr_eq(account_of_id(account_id(b)), b);
    ck_assert_ptr_null(account_of_id(account_id(NULL)));
    ck_assert(!account_is_limited(a) && account_is_limited(b) && !account_is_limited(NULL));
}
END_TEST

START_TEST(whoever_frees_credits_the_owner) {
    fake_memory_start();
    struct memory_account *a = account_create(0, 0), *b = account_create(0, 0);
    fake_account = a;
    uint64_t kernel = page_alloc(2), user = page_alloc_for(9, PAGE_ANONYMOUS);
    ck_assert_uint_eq(a->kernel.used, 4 * PAGE_SIZE);
    ck_assert_uint_eq(a->user.used, 512 * PAGE_SIZE);
    fake_account = b;
    page_put(kernel);
    ck_assert_uint_eq(a->kernel.used, 0);
    page_split(user, 9);
    for (uint64_t i = 0; i < 512; i++)
        page_put(user + i * PAGE_SIZE);
    ck_assert_uint_eq(a->user.used, 0);
    ck_assert_uint_eq(b->user.used + b->kernel.used, 0);
}
END_TEST

START_TEST(limits_refuse_pages_by_kind) {
    fake_memory_start();
    fake_account = account_create(3 * PAGE_SIZE, 2 * PAGE_SIZE);
    ck_assert_uint_ne(page_alloc(1), PHYSICAL_NONE);
    ck_assert_uint_eq(page_alloc(0), PHYSICAL_NONE);
    size_t free = page_free_bytes();
    ck_assert_uint_eq(page_alloc_for(2, PAGE_SHARED), PHYSICAL_NONE);
    ck_assert_uint_eq(page_free_bytes(), free);
    ck_assert_uint_ne(page_alloc_for(1, PAGE_SHARED), PHYSICAL_NONE);
    ck_assert_uint_eq(fake_account->user.used, 2 * PAGE_SIZE);
}
END_TEST

START_TEST(the_last_memory_is_for_the_rest_of_the_system) {
    fake_memory_start();
    struct memory_account *limited = fake_account = account_create(0, 1ul << 40);
    while (page_alloc_for(0, PAGE_ANONYMOUS) != PHYSICAL_NONE)
        continue;
    ck_assert_uint_gt(page_reserve(), 0);
    ck_assert_uint_ge(page_free_bytes(), page_reserve());
    ck_assert_uint_lt(page_free_bytes(), page_reserve() + PAGE_SIZE);
    while (page_alloc(0) != PHYSICAL_NONE)
        continue;
    ck_assert_uint_ge(page_free_bytes(), page_reserve() / 2);
    ck_assert_uint_lt(page_free_bytes(), page_reserve() / 2 + PAGE_SIZE);
    fake_account = account_create(0, 0);
    ck_assert_uint_ne(page_alloc_for(0, PAGE_ANONYMOUS), PHYSICAL_NONE);
    fake_account = NULL;
    while (page_alloc(0) != PHYSICAL_NONE)
        continue;
    ck_assert_uint_eq(page_free_bytes(), 0);
    ck_assert_uint_gt(limited->user.used, 0);
}
END_TEST

START_TEST(pages_change_hands) {
    fake_memory_start();
    struct memory_account *a = fake_account = account_create(0, 0);
    struct memory_account *b = account_create(0, PAGE_SIZE);
    uint64_t big = page_alloc(1), small = page_alloc(0);
    ck_assert_int_eq(page_recharge(big, b), -ENOMEM);
    ck_assert_uint_eq(a->kernel.used, 3 * PAGE_SIZE);
    ck_assert_int_eq(page_recharge(small, b), 0);
    ck_assert_uint_eq(a->kernel.used, 2 * PAGE_SIZE);
    ck_assert_uint_eq(b->kernel.used, PAGE_SIZE);
    ck_assert_int_eq(page_recharge(small, NULL), 0);
    ck_assert_uint_eq(b->kernel.used, 0);
    page_put(small);
    ck_assert_uint_eq(b->kernel.used, 0);
}
END_TEST

START_TEST(accounts_come_back_though_pages_stay) {
    fake_memory_start();
    uint64_t page[3 * ACCOUNT_MAX];
    struct memory_account *live = account_create(0, 0);
    fake_account = live;
    uint64_t mine = page_alloc(0);
    for (unsigned i = 0; i < 3 * ACCOUNT_MAX; i++) {
        fake_account = account_create(0, 0);
        ck_assert_ptr_nonnull(fake_account);
        ck_assert_ptr_ne(fake_account, live);
        ck_assert_uint_eq(fake_account->user.used + fake_account->kernel.used, 0);
        page[i] = page_alloc_for(0, PAGE_SHARED);
        account_put(fake_account);
    }
    for (unsigned i = 0; i < 3 * ACCOUNT_MAX; i++)
        page_put(page[i]);
    ck_assert_uint_eq(live->kernel.used, PAGE_SIZE);
    page_put(mine);
    ck_assert_uint_eq(live->kernel.used, 0);
    for (unsigned id = 1; id < ACCOUNT_MAX; id++)
        ck_assert_uint_eq(account_of_id(id)->user.used, 0);
    // Live ones are never taken away.
    while (account_create(0, 0))
        continue;
    ck_assert_ptr_null(account_create(0, 0));
}
END_TEST

static unsigned released;

static void release(struct memory_group *group) {
    (void)group;
    released++;
}

START_TEST(groups_limit_what_their_accounts_have_together) {
    fake_memory_start();
    struct memory_group above = {.total.limit = 5 * PAGE_SIZE, .release = release},
                        group = {.parent = &above, .total.limit = 4 * PAGE_SIZE};
    group.release = release;
    struct memory_account *a = account_create(0, 8 * PAGE_SIZE), *b = account_create(0, 0);
    struct memory_account *a_in = account_in_group(a, &group), *b_in = account_in_group(b, &above);
    ck_assert(account_same_program(a, a_in) && !account_same_program(a, b_in));
    ck_assert(account_is_limited(a_in) && !account_is_limited(b_in));
    ck_assert_ptr_eq(account_in_group(a, &group), a_in); // and the reference was given back
    ck_assert_uint_eq(released, 1);
    ck_assert_ptr_eq(account_in_group(a_in, NULL), a);
    account_put(a);
    account_put(a_in);
    ck_assert_int_eq(account_charge(a_in, 3 * PAGE_SIZE, false), 0);
    ck_assert_int_eq(account_charge(a_in, 2 * PAGE_SIZE, false), -ENOMEM); // its own limit
    ck_assert_uint_eq(group.refused, 1);
    ck_assert_int_eq(account_charge(a_in, PAGE_SIZE, true), 0);
    ck_assert_int_eq(account_charge(b_in, 2 * PAGE_SIZE, false), -ENOMEM); // the one above's
    ck_assert_int_eq(account_charge(b_in, 2 * PAGE_SIZE, true), 0); // the kernel's is not refused
    account_uncharge(b_in, 2 * PAGE_SIZE, true);
    ck_assert_uint_eq(above.refused, 1);
    ck_assert_uint_eq(above.total.used, 4 * PAGE_SIZE);
    ck_assert_uint_eq(above.kernel, PAGE_SIZE);
    // Kernel memory counts for the program wherever it is.
    ck_assert_uint_eq(a->kernel.used, PAGE_SIZE);
    ck_assert_int_eq(account_charge(a, 7 * PAGE_SIZE, true), 0);
    ck_assert_int_eq(account_charge(a, 1, true), -ENOMEM);
    account_uncharge(a, 7 * PAGE_SIZE, true);
    account_uncharge(a_in, PAGE_SIZE, true);
    account_put(a_in);
    for (unsigned i = 0; i < ACCOUNT_MAX; i++)
        account_put(account_create(0, 0));
    ck_assert_uint_eq(released, 1); // three pages are still there
    account_uncharge(a_in, 3 * PAGE_SIZE, false);
    ck_assert_uint_eq(above.total.used + group.total.used + a->kernel.used, 0);
    while (account_create(0, 0))
        continue;
    ck_assert_uint_eq(released, 2);
}
END_TEST

Suite *account_suite(void);
Suite *account_suite(void) {
    Suite *suite = suite_create("account");
    TCase *tests = tcase_create("account");
    tcase_add_test(tests, charges_stop_at_the_limit);
    tcase_add_test(tests, no_account_is_the_kernel);
    tcase_add_test(tests, numbers_name_accounts);
    tcase_add_test(tests, whoever_frees_credits_the_owner);
    tcase_add_test(tests, limits_refuse_pages_by_kind);
    tcase_add_test(tests, the_last_memory_is_for_the_rest_of_the_system);
    tcase_add_test(tests, pages_change_hands);
    tcase_add_test(tests, accounts_come_back_though_pages_stay);
    tcase_add_test(tests, groups_limit_what_their_accounts_have_together);
    suite_add_tcase(suite, tests);
    return suite;
}
