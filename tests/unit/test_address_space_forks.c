// SPDX-License-Identifier: BSD-2-Clause
// Address spaces that fork: pages are shared until one writes.
#include <asm/errno.h>
#include <check.h>
#include <linux/mman.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/address_space_fixture.h"

// A few address spaces that fork from one another, each with what it should show.
START_TEST(forks_share_pages_until_one_writes) {
    enum { SPACES = 4, PAGES = 1024, ROUNDS = 3000 };
    const uint64_t base = 0x40000000;
    static struct {
        struct address_space *space;
        unsigned char content[PAGES];
    } all[SPACES];
    start();
    srand(11);
    map(base, PAGES * 4096ull, RW, PRIVATE | MAP_FIXED);
    all[0].space = space;
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned self = (unsigned)rand() % SPACES, other = (unsigned)rand() % SPACES;
        unsigned page = (unsigned)rand() % PAGES, count = 1 + (unsigned)rand() % 64;
        uint64_t at = base + page * 4096ull;
        if (!all[self].space)
            continue;
        space = all[self].space;
        if (page + count > PAGES)
            count = PAGES - page;
        switch (rand() % 32) {
        case 0:
            if (self == other)
                break;
            if (all[other].space)
                address_space_put(all[other].space);
            all[other] = all[self];
            all[other].space = address_space_fork(space);
            ck_assert_ptr_nonnull(all[other].space);
            break;
        case 1:
            ck_assert_int_eq(address_space_advise(space, at, count * 4096ull, MADV_DONTNEED), 0);
            memset(all[self].content + page, 0, count);
            break;
        case 2:
            ck_assert_int_eq(address_space_protect(space, at, 4096, PROT_READ), 0);
            ck_assert_int_eq(touch(at, ACCESS_WRITE), -EFAULT);
            ck_assert_int_eq(address_space_protect(space, at, 4096, RW), 0);
            break;
        default:
            poke(at, all[self].content[page] = (unsigned char)rand());
        }
        ck_assert_uint_eq(peek(at), all[self].content[page]);
        unsigned probe = (unsigned)rand() % PAGES;
        ck_assert_uint_eq(peek(base + probe * 4096ull), all[self].content[probe]);
    }
    space = NULL;
    for (unsigned i = 0; i < SPACES; i++) {
        if (!all[i].space)
            continue;
        if (space)
            address_space_put(space);
        space = all[i].space;
    }
    for (unsigned i = 0; i < PAGES; i++) // the last one may write to all of them
        ck_assert_int_eq(touch(base + i * 4096ull, ACCESS_WRITE), 0);
    finish();
}
END_TEST

START_TEST(a_fork_follows_advice_and_keeps_huge_pages) {
    start();
    uint64_t huge = map(0, 8 * MIB, RW, PRIVATE), wiped = map(0, 4096, RW, PRIVATE);
    uint64_t parents = map(0, 4096, RW, PRIVATE),
             shared = map(0, 4096, RW, MAP_SHARED | MAP_ANONYMOUS);
    struct address_space *parent = space;
    ck_assert_int_eq(address_space_advise(space, wiped, 4096, MADV_WIPEONFORK), 0);
    ck_assert_int_eq(address_space_advise(space, parents, 4096, MADV_DONTFORK), 0);
    poke(huge, 1);
    poke(wiped, 2);
    poke(parents, 3);
    poke(shared, 4);
    uint64_t used = fake_account->user.used;
    unsigned flushes = fake_flush.count;
    space = address_space_fork(parent);
    ck_assert_uint_gt(fake_flush.count, flushes); // others must not go on writing
    ck_assert_uint_eq(fake_account->user.used, used);
    ck_assert_uint_eq(size_at(huge), 2 * MIB);
    ck_assert_uint_eq(peek(huge), 1);
    ck_assert_uint_eq(peek(wiped), 0);
    ck_assert_int_eq(touch(parents, ACCESS_READ), -EFAULT);
    ck_assert_uint_eq(peek(shared), 4);
    poke(shared, 5);
    address_space_put(space);
    space = parent;
    ck_assert_uint_eq(peek(shared), 5);
    poke(huge + 4096, 6); // alone again: no copy
    ck_assert_uint_eq(size_at(huge), 2 * MIB);
    ck_assert_uint_eq(fake_account->user.used, used);
    finish();
}
END_TEST

Suite *address_space_forks_suite(void);
Suite *address_space_forks_suite(void) {
    Suite *suite = suite_create("address_space_forks");
    TCase *tests = tcase_create("address_space_forks");
    tcase_add_test(tests, forks_share_pages_until_one_writes);
    tcase_add_test(tests, a_fork_follows_advice_and_keeps_huge_pages);
    suite_add_tcase(suite, tests);
    return suite;
}
