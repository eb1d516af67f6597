// SPDX-License-Identifier: BSD-2-Clause
// A disk in a file of an ext4 file system: what is written is there for others who read the file
// system, which e2fsck finds in order.
// Sources: drivers/block/block_device.c drivers/block/raw_file.c
#define _GNU_SOURCE
#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "drivers/block/ext4_file.h"
#include "drivers/block/raw_file.h"

Suite *ext4_file_suite(void);

#define FILE_SIZE (4u << 20)
#define CHUNK     (256u << 10)

static char directory[64];
static struct block_device *image, *disk;
static struct ext4 *fs; // for good: the program ends with its file systems
static uint8_t expected[FILE_SIZE], found[FILE_SIZE];

// Runs a shell command in the directory.
static int run(const char *command) {
    char line[512];

    snprintf(line, sizeof(line), "cd %s && PATH=$PATH:/usr/sbin:/sbin && { %s; } >log 2>&1",
             directory, command);
    return system(line);
}

static void (*submit_to_file)(struct block_device *device, struct block_request *request);

static bool holds_writes;
static sem_t may_write;

// A disk takes whole blocks only, and, where it holds writes, one for each post.
static void submit(struct block_device *device, struct block_request *request) {
    ck_assert_uint_eq((request->offset | request->length) % device->logical_block, 0);
    if (request->operation == BLOCK_WRITE && holds_writes)
        while (sem_wait(&may_write) < 0) {
        }
    submit_to_file(device, request);
}

// A file system with a sparse file that begins with data, and one that is no multiple of sectors.
static void start(uint32_t logical_block) {
    char path[128], make[512];

    snprintf(directory, sizeof(directory), "/tmp/ext4.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    snprintf(make, sizeof(make),
             "mkdir -p root/images && head -c 300000 /dev/urandom >root/images/disk && "
             "truncate -s 4M root/images/disk && echo short >root/short && "
             "truncate -s 16M fs && mke2fs -q -F -t ext4 -b %u -d root fs && "
             "cp root/images/disk before",
             logical_block < 1024 ? 1024 : logical_block);
    ck_assert_int_eq(run(make), 0);
    snprintf(path, sizeof(path), "%s/before", directory);
    FILE *file = fopen(path, "r");
    ck_assert_uint_eq(fread(expected, 1, FILE_SIZE, file), FILE_SIZE);
    fclose(file);
    snprintf(path, sizeof(path), "%s/fs", directory);
    image = raw_file_open(path, false, -1);
    ck_assert_ptr_nonnull(image);
    image->logical_block = logical_block;
    submit_to_file = image->submit;
    image->submit = submit;
}

static void end(void) {
    raw_file_close(image);
    ck_assert_int_eq(run("e2fsck -fn fs"), 0);
    ck_assert_int_eq(run("debugfs -R 'dump /images/disk after' fs"), 0);
    char path[128];
    snprintf(path, sizeof(path), "%s/after", directory);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fread(found, 1, FILE_SIZE, file), FILE_SIZE);
    fclose(file);
    ck_assert(memcmp(expected, found, FILE_SIZE) == 0);
    run("rm -rf root fs before after log all");
    rmdir(directory);
}

static void check_read(void) {
    for (size_t at = 0; at < FILE_SIZE; at += CHUNK)
        ck_assert_int_eq(block_transfer(disk, BLOCK_READ, at, found + at, CHUNK), 0);
    ck_assert(memcmp(expected, found, FILE_SIZE) == 0);
}

START_TEST(test_read) {
    start(512);
    fs = ext4_mount(image, true);
    ck_assert_ptr_nonnull(fs);
    disk = ext4_file_open(fs, "/images/disk", true);
    ck_assert_ptr_nonnull(disk);
    ck_assert_uint_eq(disk->sectors, FILE_SIZE / 512);
    check_read();
    ck_assert_ptr_null(ext4_file_open(fs, "/images/none", true));
    ck_assert_int_eq(errno, ENOENT);
    ck_assert_ptr_null(ext4_file_open(fs, "/short", true));
    ck_assert_int_eq(errno, EINVAL);
    ck_assert_ptr_null(ext4_file_open(fs, "/images", true));
    ck_assert_int_eq(errno, EINVAL);
    end();
}
END_TEST

START_TEST(test_write) {
    const uint32_t block = _i ? 4096 : 512;

    start(block);
    fs = ext4_mount(image, false);
    ck_assert_ptr_nonnull(fs);
    disk = ext4_file_open(fs, "/images/disk", false);
    ck_assert_ptr_nonnull(disk);
    srandom(7);
    for (int i = 0; i < 200; i++) {
        uint32_t blocks = 1 + (uint32_t)random() % 40;
        uint32_t at = (uint32_t)random() % (FILE_SIZE / block - blocks) * block;

        memset(expected + at, i + 1, (size_t)blocks * block);
        ck_assert_int_eq(
            block_transfer(disk, BLOCK_WRITE, at, expected + at, (size_t)blocks * block), 0);
    }
    check_read();
    ck_assert_int_eq(block_transfer(disk, BLOCK_FLUSH, 0, NULL, 0), 0);
    end();
}
END_TEST

static sem_t over;

static void done(struct block_request *request, int error) {
    (void)request;
    ck_assert_int_eq(error, 0);
    sem_post(&over);
}

START_TEST(test_holes_hold_nobody_up) {
    const size_t at = 3 << 20;
    struct iovec piece = {.iov_base = expected + at, .iov_len = 4096};
    struct block_request request = {.operation = BLOCK_WRITE,
                                    .offset = at,
                                    .length = 4096,
                                    .data = &piece,
                                    .count = 1,
                                    .done = done};

    start(512);
    fs = ext4_mount(image, false);
    ck_assert_ptr_nonnull(fs);
    disk = ext4_file_open(fs, "/images/disk", false);
    ck_assert_ptr_nonnull(disk);
    sem_init(&may_write, 0, 0);
    sem_init(&over, 0, 0);
    holds_writes = true;
    check_read();
    memset(expected + at, 9, 4096);
    block_submit(disk, &request); // would not return
    ck_assert_int_eq(block_transfer(disk, BLOCK_READ, 0, found, CHUNK), 0);
    ck_assert(memcmp(expected, found, CHUNK) == 0);
    for (int i = 0; i < 1000; i++)
        sem_post(&may_write);
    while (sem_wait(&over) < 0) {
    }
    check_read();
    end();
}
END_TEST

START_TEST(test_full) {
    start(512);
    // All that is free belongs to another file.
    ck_assert_int_eq(run("for size in 1M 100k 10k 1k; do yes | head -c $size >root/$size; "
                         "for i in $(seq 16); do echo write root/$size $size$i; done; done >all; "
                         "debugfs -w -f all fs"),
                     0);
    fs = ext4_mount(image, false);
    ck_assert_ptr_nonnull(fs);
    disk = ext4_file_open(fs, "/images/disk", false);
    ck_assert_ptr_nonnull(disk);
    memset(found, 5, 4096);
    ck_assert_int_eq(block_transfer(disk, BLOCK_WRITE, 3 << 20, found, 4096), -ENOSPC);
    check_read();
    end();
}
END_TEST

START_TEST(test_unclean) {
    start(512);
    ck_assert_int_eq(run("debugfs -w -R 'feature needs_recovery' fs"), 0);
    ck_assert_ptr_null(ext4_mount(image, false));
    ck_assert_int_eq(errno, EUCLEAN);
    ck_assert_int_eq(run("debugfs -w -R 'feature -needs_recovery' fs"), 0);
    ck_assert_int_eq(run("dd if=/dev/urandom of=fs bs=1k seek=1 count=1 conv=notrunc"), 0);
    ck_assert_ptr_null(ext4_mount(image, false));
    ck_assert_int_eq(errno, EUCLEAN);
    raw_file_close(image);
    run("rm -rf root fs before log");
    rmdir(directory);
}
END_TEST

Suite *ext4_file_suite(void) {
    Suite *suite = suite_create("ext4_file");
    TCase *tests = tcase_create("ext4_file");

    tcase_add_test(tests, test_read);
    tcase_add_loop_test(tests, test_write, 0, 2);
    tcase_add_test(tests, test_holes_hold_nobody_up);
    tcase_add_test(tests, test_full);
    tcase_add_test(tests, test_unclean);
    suite_add_tcase(suite, tests);
    return suite;
}
