// SPDX-License-Identifier: BSD-2-Clause
// The root file system: an archive mounted, paths walked, files read in place and written over.
#include <asm/fcntl.h>
#include <asm/stat.h>
#include <check.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include "core/file/file_mode.h"
#include "core/file/io_buffer.h"
#include "core/file/path.h"
#include "core/file/regular_file.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "tests/unit/fake_process.h"

// Sources: core/file/root.c core/file/cpio.c core/file/device.c core/file/open_calls.c
// Sources: core/file/text_file.c core/file/name_calls.c
// Sources: core/file/path_calls.c core/file/directory.c core/file/status.c core/file/node.c
// Sources: core/file/file.c core/file/fd_table.c core/file/read_write_calls.c core/format.c
// Sources: tests/unit/fake_process.c tests/unit/fake_memory.c

Suite *path_suite(void);

static struct fake_archive archive;

static void start(void) {
    struct process *process = fake_process_start();
    strcpy(process->executable, "/bin/tool");
    fake_archive_add(&archive, ".", S_IFDIR | 0755, 1, 2, NULL, 0);
    fake_archive_add(&archive, "bin/tool", S_IFREG | 0755, 2, 1, "original", 8);
    fake_archive_add(&archive, "bin", S_IFDIR | 0711, 3, 2, NULL, 0); // after what is in it
    fake_archive_add(&archive, "bin/relative", S_IFLNK | 0777, 4, 1, "../bin/./tool", 13);
    fake_archive_add(&archive, "absolute", S_IFLNK | 0777, 5, 1, "/bin", 4);
    fake_archive_add(&archive, "loop", S_IFLNK | 0777, 6, 1, "loop", 4);
    fake_archive_add(&archive, "hard/a", S_IFREG | 0644, 7, 2, NULL, 0);
    fake_archive_add(&archive, "hard/b", S_IFREG | 0644, 7, 2, "linked", 6);
    fake_archive_add(&archive, "TRAILER!!!", 0, 0, 1, NULL, 0);
    ck_assert_int_eq(root_init(archive.bytes, archive.size, "cpus = 2\n", 9), 0);
}

static int find(const char *path, struct stat *status) {
    return (int)CALL(sys_stat, (uintptr_t)path, (uintptr_t)status);
}

static void expect_content(const char *path, const char *wanted) {
    char text[64] = "";
    int fd = (int)CALL(sys_open, (uintptr_t)path, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(CALL(sys_read, fd, (uintptr_t)text, sizeof(text)), (int)strlen(wanted));
    ck_assert_str_eq(text, wanted);
    ck_assert_int_eq(CALL(sys_close, fd), 0);
}

START_TEST(mounted) {
    struct stat status;
    expect_content("/bin/tool", "original");
    expect_content("/etc/ashlar.conf", "cpus = 2\n");
    expect_content("/hard/a", "linked");
    expect_content("/hard/b", "linked");
    expect_content("/sys/devices/system/cpu/online", "0-3\n");
    ck_assert_int_eq(find("/bin", &status), 0);
    ck_assert_uint_eq(status.st_mode, S_IFDIR | 0711);
    ck_assert_int_eq(find("/hard/a", &status), 0);
    ck_assert_uint_eq(status.st_nlink, 2);
    ck_assert_uint_eq(status.st_mtime, 1000);
}
END_TEST

struct walk_case {
    const char *path;
    int error;
};

static const struct walk_case walks[] = {
    {"/bin/tool", 0},
    {"/bin/relative", 0},
    {"/absolute/relative", 0},
    {"//bin///../bin/tool", 0},
    {"/../../bin/tool", 0},
    {"/absolute/", 0},
    {"bin/./tool", 0},
    {"/proc/self/exe", 0},
    {"", -ENOENT},
    {"/missing", -ENOENT},
    {"/missing/x", -ENOENT},
    {"/bin/tool/x", -ENOTDIR},
    {"/bin/tool/", -ENOTDIR},
    {"/bin/tool/..", -ENOTDIR},
    {"/loop", -ELOOP},
    {"/sys/kernel/mm/transparent_hugepage", -ENOENT},
};

START_TEST(walked) {
    struct stat status;
    ck_assert_int_eq(find(walks[_i].path, &status), walks[_i].error);
}
END_TEST

START_TEST(links_themselves) {
    struct stat status;
    char text[32] = "";
    ck_assert_int_eq(CALL(sys_lstat, (uintptr_t) "/absolute", (uintptr_t)&status), 0);
    ck_assert_uint_eq(status.st_mode, S_IFLNK | 0777);
    ck_assert_int_eq(CALL(sys_readlink, (uintptr_t) "/absolute", (uintptr_t)text, 3), 3);
    ck_assert_str_eq(text, "/bi");
    ck_assert_int_eq(CALL(sys_readlink, (uintptr_t) "/proc/self/exe", (uintptr_t)text, 32), 9);
    ck_assert_str_eq(text, "/bin/tool");
    ck_assert_int_eq(CALL(sys_open, (uintptr_t) "/absolute", O_NOFOLLOW), -ELOOP);
}
END_TEST

START_TEST(overlay) {
    char text[16] = "";
    int old = (int)CALL(sys_open, (uintptr_t) "/bin/tool", O_RDONLY);
    int fd = (int)CALL(sys_open, (uintptr_t) "/bin/tool", O_RDWR);
    ck_assert_int_eq(CALL(sys_pwrite64, fd, (uintptr_t) "AL", 2, 6), 2);
    expect_content("/bin/tool", "originAL");
    ck_assert_int_eq(CALL(sys_pread64, old, (uintptr_t)text, 16, 4), 4);
    ck_assert_str_eq(text, "inAL");
    ck_assert_int_eq(memcmp(archive.bytes, "070701", 6), 0);
    ck_assert_int_eq(CALL(sys_unlink, (uintptr_t) "/bin/tool"), 0);
    ck_assert_int_eq(CALL(sys_open, (uintptr_t) "/bin/tool", O_RDONLY), -ENOENT);
    ck_assert_int_eq(CALL(sys_pread64, old, (uintptr_t)text, 16, 0), 8); // still open
    ck_assert_int_eq(CALL(sys_open, (uintptr_t) "/bin/new", O_RDWR | O_CREAT, 0666), fd + 1);
    struct stat status;
    ck_assert_int_eq(find("/bin/new", &status), 0);
    ck_assert_uint_eq(status.st_mode, S_IFREG | 0644); // umask 022
    ck_assert_int_eq(CALL(sys_open, (uintptr_t) "/none/new", O_RDWR | O_CREAT, 0666), -ENOENT);
    ck_assert_int_eq(CALL(sys_open, (uintptr_t) "/bin/new/", O_RDWR | O_CREAT, 0666), -ENOTDIR);
}
END_TEST

START_TEST(names_move) {
    struct stat status;
#define P(path) (uintptr_t)(path)
    ck_assert_int_eq(CALL(sys_mkdir, P("/a"), 0777), 0);
    ck_assert_int_eq(CALL(sys_mkdir, P("/a/b"), 0777), 0);
    ck_assert_int_eq(CALL(sys_link, P("/bin/tool"), P("/a/tool")), 0);
    ck_assert_int_eq(CALL(sys_link, P("/bin/tool"), P("/a/tool")), -EEXIST);
    ck_assert_int_eq(CALL(sys_link, P("/a"), P("/c")), -EPERM);
    ck_assert_int_eq(find("/a/tool", &status), 0);
    ck_assert_uint_eq(status.st_nlink, 2);
    ck_assert_int_eq(CALL(sys_rename, P("/a/tool"), P("/bin/tool")), 0); // the same file: nothing
    ck_assert_int_eq(CALL(sys_rename, P("/bin/tool"), P("/a/b/tool")), 0);
    expect_content("/a/b/tool", "original");
    ck_assert_int_eq(find("/bin/tool", &status), -ENOENT);
    ck_assert_int_eq(CALL(sys_rename, P("/a"), P("/a/b/inside")), -EINVAL);
    ck_assert_int_eq(CALL(sys_rename, P("/a/tool"), P("/a/b")), -EISDIR);
    ck_assert_int_eq(CALL(sys_rename, P("/a/b"), P("/a/tool")), -ENOTDIR);
    ck_assert_int_eq(CALL(sys_rename, P("/bin"), P("/a/b")), -ENOTEMPTY);
    ck_assert_int_eq(CALL(sys_rename, P("/"), P("/c")), -EBUSY);
    ck_assert_int_eq(CALL(sys_rename, P("/a/b"), P("/c")), 0);
    expect_content("/c/tool", "original");
    ck_assert_int_eq(
        CALL(sys_renameat2, AT_FDCWD, P("/c/tool"), AT_FDCWD, P("/hard/a"), RENAME_NOREPLACE),
        -EEXIST);
    ck_assert_int_eq(CALL(sys_rename, P("/c/tool"), P("/hard/a")), 0);
    expect_content("/hard/a", "original");
    ck_assert_int_eq(CALL(sys_rmdir, P("/c")), 0);
    ck_assert_int_eq(CALL(sys_symlink, P("../hard"), P("/a/link")), 0);
    expect_content("/a/link/a", "original");
    ck_assert_int_eq(CALL(sys_unlink, P("/a/link")), 0);
    ck_assert_int_eq(CALL(sys_chmod, P("/a/tool"), 0604), 0);
    ck_assert_int_eq(find("/hard/a", &status), 0);
    ck_assert_uint_eq(status.st_mode, S_IFREG | 0604);
#undef P
}
END_TEST

START_TEST(working_directory) {
    char text[64];
    ck_assert_int_eq(CALL(sys_chdir, (uintptr_t) "/absolute"), 0);
    ck_assert_int_eq(CALL(sys_getcwd, (uintptr_t)text, sizeof(text)), 5);
    ck_assert_str_eq(text, "/bin");
    expect_content("tool", "original");
    expect_content("../hard/a", "linked");
    ck_assert_int_eq(CALL(sys_chdir, (uintptr_t) "tool"), -ENOTDIR);
    ck_assert_int_eq(CALL(sys_mkdir, (uintptr_t) "deep", 0777), 0);
    ck_assert_int_eq(CALL(sys_chdir, (uintptr_t) "deep"), 0);
    ck_assert_int_eq(CALL(sys_rmdir, (uintptr_t) "../deep"), 0);
    struct stat status;
    ck_assert_int_eq(find("x", &status), -ENOENT);
    ck_assert_int_eq(find("/bin", &status), 0);
}
END_TEST

Suite *path_suite(void) {
    Suite *suite = suite_create("path");
    TCase *cases = tcase_create("root");
    tcase_add_checked_fixture(cases, start, NULL);
    tcase_add_test(cases, mounted);
    tcase_add_loop_test(cases, walked, 0, sizeof(walks) / sizeof(walks[0]));
    tcase_add_test(cases, links_themselves);
    tcase_add_test(cases, overlay);
    tcase_add_test(cases, names_move);
    tcase_add_test(cases, working_directory);
    suite_add_tcase(suite, cases);
    return suite;
}
