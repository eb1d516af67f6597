// SPDX-License-Identifier: BSD-2-Clause
// fd tables: lowest free slot, growth, replacement, close-on-exec, copies; and reference counts.
#include <check.h>
#include <linux/errno.h>
#include "core/file/fd_table.h"
#include "core/process/process.h"
#include "tests/unit/fake_process.h"

// Sources: tests/unit/fake_process.c tests/unit/fake_memory.c core/file/file.c core/file/epoll.c
// Sources: core/file/blocking.c core/file/poll_calls.c core/file/file_lock.c core/file/node.c
// Sources: core/file/regular_file.c core/file/io_buffer.c core/mm/heap.c core/mm/page.c
// Sources: core/mm/memory_object.c core/mm/shared_memory.c core/mm/fixed_memory.c core/mm/account.c
// Sources: core/mm/page_tree.c

Suite *fd_table_suite(void);

static struct fd_table *table;
static unsigned released;

static void release(struct file *file) {
    (void)file;
    released++;
}

static const struct file_ops ops = {.name = "test", .release = release};

static void start(void) {
    table = fake_process_start()->files;
    released = 0;
}

static struct file *new_file(void) {
    return file_create(&ops, NULL, 0);
}

START_TEST(lowest_free) {
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(fd_install(new_file(), false), i);
    ck_assert_int_eq(fd_close(1), 0);
    ck_assert_int_eq(fd_close(3), 0);
    ck_assert_int_eq(fd_close(3), -EBADF);
    ck_assert_uint_eq(released, 2);
    ck_assert_int_eq(fd_install(new_file(), false), 1);
    ck_assert_int_eq(fd_install(new_file(), false), 3);
    ck_assert_int_eq(fd_install(new_file(), false), 5);
    ck_assert_int_eq(fd_table_install(table, new_file(), 10, 1024, false), 10);
    ck_assert_int_eq(fd_install(new_file(), false), 6);
    ck_assert_ptr_null(fd_get(7));
    ck_assert_ptr_null(fd_get(-1));
    ck_assert_ptr_null(fd_get(1 << 20));
}
END_TEST

START_TEST(growth_and_limit) {
    for (int i = 0; i < 1024; i++)
        ck_assert_int_eq(fd_install(new_file(), false), i);
    ck_assert_int_eq(fd_install(new_file(), false), -EMFILE);
    struct file *extra = new_file();
    ck_assert_int_eq(fd_table_install(table, extra, 4100, 5000, false), 4100);
    ck_assert_ptr_eq(fd_lookup(table, 4100), extra);
    file_put(extra);
    fd_table_put(table);
    ck_assert_uint_eq(released, 1026);
}
END_TEST

START_TEST(replacement) {
    struct file *a = new_file(), *b = new_file(), *replaced;
    int fd = fd_install(a, true);
    ck_assert_int_eq(fd_table_replace(table, (unsigned)fd, b, false, &replaced), 0);
    ck_assert_ptr_eq(replaced, a);
    ck_assert_int_eq(fd_table_get_close_on_exec(table, (unsigned)fd), 0);
    ck_assert_int_eq(fd_table_replace(table, 900, a, true, &replaced), 0);
    ck_assert_ptr_null(replaced);
    ck_assert_int_eq(fd_table_get_close_on_exec(table, 900), 1);
    ck_assert_int_eq(fd_table_get_close_on_exec(table, 901), -EBADF);
}
END_TEST

START_TEST(close_on_exec_and_clone) {
    ck_assert_int_eq(fd_install(new_file(), true), 0);
    ck_assert_int_eq(fd_install(new_file(), false), 1);
    struct fd_table *clone = fd_table_clone(table);
    fd_table_close_on_exec(clone);
    ck_assert_ptr_null(fd_lookup(clone, 0));
    ck_assert_uint_eq(released, 0); // the first table still has it
    fd_table_put(table);
    ck_assert_uint_eq(released, 1);
    fd_table_put(clone);
    ck_assert_uint_eq(released, 2);
}
END_TEST

START_TEST(files_outlive_their_fd) {
    int fd = fd_install(new_file(), false);
    struct file *file = fd_get(fd);
    fd_close(fd);
    ck_assert_uint_eq(released, 0);
    file_put(file);
    ck_assert_uint_eq(released, 1);
}
END_TEST

static struct file *chain[1000];

static void release_next(struct file *file) {
    uintptr_t index = (uintptr_t)file->object;
    released++;
    if (index + 1 < sizeof(chain) / sizeof(chain[0]))
        file_put_deferred(chain[index + 1]);
}

// A file whose release drops the next and so on: one after the other, not one inside the other.
START_TEST(deferred_release) {
    static const struct file_ops chain_ops = {.name = "chain", .release = release_next};
    for (uintptr_t i = 0; i < sizeof(chain) / sizeof(chain[0]); i++)
        chain[i] = file_create(&chain_ops, (void *)i, 0);
    file_put_deferred(chain[0]);
    ck_assert_uint_eq(released, 1000);
}
END_TEST

Suite *fd_table_suite(void) {
    Suite *suite = suite_create("fd_table");
    TCase *cases = tcase_create("table");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, lowest_free);
    tcase_add_test(cases, growth_and_limit);
    tcase_add_test(cases, replacement);
    tcase_add_test(cases, close_on_exec_and_clone);
    tcase_add_test(cases, files_outlive_their_fd);
    tcase_add_test(cases, deferred_release);
    suite_add_tcase(suite, cases);
    return suite;
}
