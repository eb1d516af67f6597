// SPDX-License-Identifier: BSD-2-Clause
// Generated text: reading it in pieces, orders by writing, numbers and lists of CPUs.
// Sources: tests/unit/fake_memory.c tests/unit/fake_process.c core/file/text_file.c
// Sources: core/file/directory.c core/file/node.c core/file/io_buffer.c core/file/file.c
// Sources: core/mm/heap.c core/format.c
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include "core/file/io_buffer.h"
#include "core/file/node.h"
#include "core/file/text_file.h"
#include "core/log.h"
#include "tests/unit/fake_process.h"

static char obeyed[64];
static unsigned lines = 3, released;

static int show(void *object, struct text *text) {
    for (unsigned i = 0; i < lines; i++)
        text_add(text, "line %u\n", i);
    return 0;
}

static int store(void *object, char *text) {
    (void)object;
    strncpy(obeyed, text, sizeof obeyed - 1);
    return *text == '!' ? -EINVAL : 0;
}

static void release(void *object) {
    (void)object;
    released++;
}

static const struct text_file kind = {"text", show, store, release};

static struct file *open_text(void) {
    fake_process_start();
    ck_assert_int_eq(text_file_add(node_root(), &kind, NULL), 0);
    struct node *node = directory_find(node_root(), "text", 4)->node;
    struct file *file = file_create(&text_file_ops, node, 0);
    node_get(node);
    file->node = node;
    return file;
}

static int64_t read_some(struct file *file, char *to, size_t size) {
    struct io_buffer buffer;
    io_buffer_user(&buffer, (uintptr_t)to, size);
    uint64_t offset = file->offset;
    int64_t result = text_file_ops.read(file, &buffer, &offset);
    if (result > 0)
        file->offset += (uint64_t)result;
    return result;
}

static int64_t write_some(struct file *file, const char *from) {
    struct io_buffer buffer;
    char copy[64];
    snprintf(copy, sizeof(copy), "%s", from);
    io_buffer_user(&buffer, (uintptr_t)copy, strlen(from));
    return text_file_ops.write(file, &buffer, NULL);
}

START_TEST(text_is_read_in_pieces) {
    struct file *file = open_text();
    char text[32] = "";
    ck_assert_int_eq(read_some(file, text, 9), 9);
    ck_assert_int_eq(read_some(file, text + 9, 20), 12);
    ck_assert_str_eq(text, "line 0\nline 1\nline 2\n");
    ck_assert_int_eq(read_some(file, text, 20), 0);
    ck_assert_int_eq(text_file_ops.seek(file, 7, 0), 7);
    ck_assert_int_eq(read_some(file, text, 6), 6);
    ck_assert_mem_eq(text, "line 1", 6);
    file_put(file);
}
END_TEST

START_TEST(long_text_gets_more_room) {
    struct file *file = open_text();
    char *text = malloc(TEXT_FILE_MAX);
    lines = 2000; // 18,890 bytes
    ck_assert_int_eq(read_some(file, text, TEXT_FILE_MAX), 18890);
    ck_assert_mem_eq(text + 18880, "line 1999\n", 10);
    free(text);
    file_put(file);
}
END_TEST

START_TEST(orders_come_without_their_newline) {
    struct file *file = open_text();
    ck_assert_int_eq(write_some(file, "do it \n"), 7);
    ck_assert_str_eq(obeyed, "do it");
    ck_assert_int_eq(write_some(file, "!\n"), -EINVAL);
    struct directory_entry *entry = directory_find(node_root(), "text", 4);
    directory_entry_remove(entry);
    directory_entry_free(entry);
    ck_assert_uint_eq(released, 0); // still open
    file_put(file);
    ck_assert_uint_eq(released, 1);
}
END_TEST

START_TEST(numbers) {
    const char *text = "18446744073709551615 x";
    uint64_t number;
    ck_assert(text_number(&text, &number) && number == UINT64_MAX && *text == ' ');
    text = "18446744073709551616";
    ck_assert(!text_number(&text, &number));
    text = "-1";
    ck_assert(!text_number(&text, &number));
}
END_TEST

START_TEST(lists_of_cpus) {
    static const char *const good[] = {"0", "0-1", "3,5-7,255", "62-65", ""};
    static const char *const bad[] = {"-1", "1-", "3-2", "256", "1;2", "a"};
    uint64_t cpus[4];
    char text[64];
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        ck_assert_int_eq(text_cpu_list_parse(good[i], cpus), 0);
        struct text list = {text, sizeof text, 0};
        ck_assert_int_eq(text_cpu_list(&list, cpus), 0);
        ck_assert_uint_eq(list.length, strlen(good[i]) + 1);
        text[strlen(text) - 1] = 0;
        ck_assert_str_eq(text, good[i]);
    }
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(text_cpu_list_parse(bad[i], cpus), -EINVAL);
}
END_TEST

Suite *text_file_suite(void);

Suite *text_file_suite(void) {
    Suite *suite = suite_create("text_file");
    TCase *test = tcase_create("text_file");
    tcase_add_test(test, text_is_read_in_pieces);
    tcase_add_test(test, long_text_gets_more_room);
    tcase_add_test(test, orders_come_without_their_newline);
    tcase_add_test(test, numbers);
    tcase_add_test(test, lists_of_cpus);
    suite_add_tcase(suite, test);
    return suite;
}
