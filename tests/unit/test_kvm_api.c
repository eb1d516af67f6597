// SPDX-License-Identifier: BSD-2-Clause
// docs/kvm-api.md says what the kernel's dispatch tables say.
#include <check.h>
#include <stdlib.h>

START_TEST(document_is_current) {
    ck_assert_int_eq(system("python3 tests/kvm_api.py --check"), 0);
}
END_TEST

Suite *kvm_api_suite(void) {
    Suite *suite = suite_create("kvm_api");
    TCase *tcase = tcase_create("document");
    tcase_add_test(tcase, document_is_current);
    suite_add_tcase(suite, tcase);
    return suite;
}
