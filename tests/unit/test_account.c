// SPDX-License-Identifier: BSD-2-Clause
// Memory accounts.
#include <asm/errno.h>
#include <check.h>
#include "core/mm/account.h"

START_TEST(a_limit_refuses_and_charges_nothing) {
    struct memory_account account = {.limit = 100};
    ck_assert_int_eq(account_charge(&account, 60), 0);
    ck_assert_int_eq(account_charge(&account, 41), -ENOMEM);
    ck_assert_int_eq(account_charge(&account, SIZE_MAX), -ENOMEM);
    ck_assert_uint_eq(account.used, 60);
    ck_assert_int_eq(account_charge(&account, 40), 0);
    account_uncharge(&account, 100);
    ck_assert_uint_eq(account.used, 0);
}
END_TEST

START_TEST(no_account_is_the_kernel) {
    size_t before = kernel_account.used;
    ck_assert_int_eq(account_charge(NULL, 1ul << 40), 0);
    ck_assert_uint_eq(kernel_account.used, before + (1ul << 40));
    account_uncharge(NULL, 1ul << 40);
    ck_assert_uint_eq(kernel_account.used, before);
}
END_TEST

Suite *account_suite(void);
Suite *account_suite(void) {
    Suite *suite = suite_create("account");
    TCase *tests = tcase_create("account");
    tcase_add_test(tests, a_limit_refuses_and_charges_nothing);
    tcase_add_test(tests, no_account_is_the_kernel);
    suite_add_tcase(suite, tests);
    return suite;
}
