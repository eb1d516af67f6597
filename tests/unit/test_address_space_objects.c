// SPDX-License-Identifier: BSD-2-Clause
// Mappings of files and of memory that is shared.
#include <asm/errno.h>
#include <check.h>
#include <linux/mman.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include "tests/unit/address_space_fixture.h"

START_TEST(private_file_pages_are_copied_on_write) {
    start();
    uint64_t base = page_alloc(2);
    char *data = page_to_virtual(base);
    memset(data, 'a', 4 * PAGE_SIZE);
    struct memory_object *file = fixed_memory_create(data, 3 * PAGE_SIZE);
    uint64_t at = (uint64_t)address_space_map(space, 0, 4 * PAGE_SIZE, RW, MAP_PRIVATE, file, 4096);
    memory_object_put(file);
    struct user_page page;
    ck_assert_int_eq(address_space_page(space, at, ACCESS_READ, &page), 0);
    ck_assert_uint_eq(page.physical, base + 4096);
    ck_assert(!page.writable);
    unsigned flushes = fake_flush.count;
    poke(at, 'b');
    ck_assert_uint_gt(fake_flush.count, flushes); // the read-only translation had to go
    ck_assert_uint_eq(peek(at), 'b');
    ck_assert_uint_eq(peek(at + 1), 'a');
    ck_assert_int_eq(data[4096], 'a');
    poke(at + 4096, 'c'); // at once
    ck_assert_int_eq(data[8192], 'a');
    ck_assert_uint_eq(fake_account->user.used, 8 * KIB);
    ck_assert_int_eq(touch(at + 2 * 4096, ACCESS_READ), -ENXIO);
    ck_assert_int_eq(touch(at + 2 * 4096, ACCESS_WRITE), -ENXIO);
    ck_assert_int_eq(address_space_advise(space, at, 4096, MADV_DONTNEED), 0);
    ck_assert_uint_eq(peek(at), 'a');
    ck_assert_int_eq(address_space_protect(space, at, 8192, PROT_READ), 0);
    ck_assert_int_eq(address_space_protect(space, at, 8192, RW), 0);
    ck_assert_int_eq(address_space_page(space, at, ACCESS_READ, &page), 0);
    ck_assert(!page.writable); // the file's page again
    ck_assert_uint_eq(peek(at + 4096), 'c');
    finish();
}
END_TEST

static void *end_change(void *changed) {
    usleep(1000);
    spin_lock(&space->lock);
    space->changing = false;
    spin_unlock(&space->lock);
    return changed;
}

START_TEST(what_an_object_gives_up_goes_though_who_gives_it_up_was_killed) {
    start();
    uint64_t base = page_alloc(0);
    struct memory_object *file = fixed_memory_create(page_to_virtual(base), PAGE_SIZE);
    uint64_t at = (uint64_t)address_space_map(space, 0, PAGE_SIZE, RW, MAP_SHARED, file, 0);
    pthread_t other;
    poke(at, 'a');
    unsigned flushes = fake_flush.count;
    space->changing = true;
    fake_wait_result = -EINTR;
    ck_assert_int_eq(pthread_create(&other, NULL, end_change, NULL), 0);
    address_spaces_forget(file, 0, UINT64_MAX);
    fake_wait_result = 0;
    pthread_join(other, NULL);
    ck_assert_uint_gt(fake_flush.count, flushes);
    memory_object_put(file);
    finish();
}
END_TEST

START_TEST(file_mappings_split_and_join) {
    start();
    uint64_t base = page_alloc(3);
    char *data = page_to_virtual(base);
    for (unsigned i = 0; i < 8; i++)
        memset(data + i * PAGE_SIZE, 'a' + (int)i, PAGE_SIZE);
    struct memory_object *file = fixed_memory_create(data, 8 * PAGE_SIZE);
    uint64_t at = 0x10000000;
    ck_assert_int_eq(
        address_space_map(space, at, 6 * PAGE_SIZE, RW, MAP_PRIVATE | MAP_FIXED, file, 4096),
        (int64_t)at);
    ck_assert_int_eq(address_space_protect(space, at + 8192, 8192, PROT_READ), 0);
    ck_assert_uint_eq(space->mappings.count, 3);
    ck_assert_uint_eq(peek(at + 8192), 'd');
    ck_assert_int_eq(address_space_protect(space, at + 8192, 8192, RW), 0);
    ck_assert_uint_eq(space->mappings.count, 1);
    ck_assert_int_eq(address_space_unmap(space, at, 4096), 0);
    for (unsigned i = 1; i < 6; i++)
        ck_assert_uint_eq(peek(at + i * 4096), 'b' + i);
    // Adjacent in memory but not in the file: two mappings.
    ck_assert_int_eq(
        address_space_map(space, at + 6 * 4096, 4096, RW, MAP_PRIVATE | MAP_FIXED, file, 0),
        (int64_t)(at + 6 * 4096));
    ck_assert_uint_eq(space->mappings.count, 2);
    ck_assert_uint_eq(peek(at + 6 * 4096), 'a');
    memory_object_put(file);
    finish();
}
END_TEST

START_TEST(shared_memory_is_one_in_all_mappings) {
    start();
    struct memory_object *object = shared_memory_create(true);
    shared_memory_resize(object, 4 * MIB);
    uint64_t a = (uint64_t)address_space_map(space, 0, 4 * MIB, RW, MAP_SHARED, object, 0);
    uint64_t b = (uint64_t)address_space_map(space, 0, MIB, RW, MAP_SHARED, object, 2 * MIB + 8192);
    uint64_t c =
        (uint64_t)address_space_map(space, 0, MIB, RW, MAP_PRIVATE, object, 2 * MIB + 8192);
    poke(b, 1);
    ck_assert_uint_eq(peek(a + 2 * MIB + 8192), 1);
    ck_assert_uint_eq(size_at(a + 2 * MIB), 2 * MIB);
    ck_assert_uint_eq(peek(c), 1);
    poke(c, 2);
    ck_assert_uint_eq(peek(b), 1);
    ck_assert_uint_eq(peek(c), 2);
    char byte = 9;
    ck_assert_int_eq(shared_memory_write(object, 2 * MIB + 8192, &byte, 1), 1);
    ck_assert_uint_eq(peek(a + 2 * MIB + 8192), 9);
    // Part of a huge page goes: the object still has the rest.
    ck_assert_int_eq(address_space_unmap(space, a + 3 * MIB, 4096), 0);
    ck_assert_uint_eq(peek(a + 2 * MIB + 8192), 9);
    ck_assert_uint_eq(size_at(a + 2 * MIB), 4 * KIB);
    memory_object_put(object); // the mappings keep it
    ck_assert_uint_eq(peek(b), 9);
    uint64_t d = map(0, 64 * KIB, RW, MAP_SHARED | MAP_ANONYMOUS);
    poke(d, 3);
    ck_assert_int_eq(address_space_advise(space, d, 64 * KIB, MADV_DONTNEED), 0);
    ck_assert_uint_eq(peek(d), 3);
    ck_assert_int_eq(address_space_advise(space, d, 64 * KIB, MADV_FREE), -EINVAL);
    finish();
}
END_TEST

START_TEST(a_hole_is_seen_in_all_mappings) {
    start();
    struct memory_object *object = shared_memory_create(true);
    shared_memory_resize(object, 6 * MIB);
    uint64_t a = (uint64_t)address_space_map(space, 0, 6 * MIB, RW, MAP_SHARED, object, 0);
    struct address_space *first = space, *other = address_space_create();
    space = other;
    uint64_t b = (uint64_t)address_space_map(space, 0, 64 * KIB, RW, MAP_PRIVATE, object, MIB);
    ck_assert_uint_eq(peek(b), 0);
    poke(b + 4096, 5); // its own copy stays
    space = first;
    for (uint64_t at = 0; at < 6 * MIB; at += 4096)
        poke(a + at, 1);
    uint64_t used = fake_account->user.used;
    // A block in the middle goes, and the pages of two others that are wholly inside.
    ck_assert_int_eq(shared_memory_punch(object, MIB + 1, 4 * MIB - 2), 0);
    ck_assert_uint_eq(fake_account->user.used, used - 2 * MIB - 2 * (MIB - 4096));
    for (uint64_t at = 0; at < 6 * MIB; at += 4096)
        ck_assert_uint_eq(peek(a + at), at <= MIB || at >= 5 * MIB);
    space = other;
    ck_assert_uint_eq(peek(b), 1);
    ck_assert_uint_eq(peek(b + 4096), 5);
    ck_assert_uint_eq(peek(b + 8192), 0);
    address_space_put(space);
    space = first;
    ck_assert_int_eq(address_space_advise(space, a, MIB, MADV_REMOVE), 0);
    ck_assert_uint_eq(peek(a), 0);
    ck_assert_uint_eq(peek(a + MIB), 1);
    // Beyond a new end there is nothing, mapped before or not.
    ck_assert_int_eq(shared_memory_resize(object, 5 * MIB), 0);
    ck_assert_int_eq(touch(a + 5 * MIB, ACCESS_READ), -ENXIO);
    ck_assert_int_eq(address_space_advise(space, a, 4096, MADV_NORMAL), 0);
    uint64_t private = map(0, 4096, RW, PRIVATE);
    ck_assert_int_eq(address_space_advise(space, private, 4096, MADV_REMOVE), -EACCES);
    memory_object_put(object);
    finish();
}
END_TEST

Suite *address_space_objects_suite(void);
Suite *address_space_objects_suite(void) {
    Suite *suite = suite_create("address_space_objects");
    TCase *tests = tcase_create("address_space_objects");
    tcase_add_test(tests, private_file_pages_are_copied_on_write);
    tcase_add_test(tests, what_an_object_gives_up_goes_though_who_gives_it_up_was_killed);
    tcase_add_test(tests, file_mappings_split_and_join);
    tcase_add_test(tests, shared_memory_is_one_in_all_mappings);
    tcase_add_test(tests, a_hole_is_seen_in_all_mappings);
    suite_add_tcase(suite, tests);
    return suite;
}
