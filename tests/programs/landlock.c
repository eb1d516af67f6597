// SPDX-License-Identifier: BSD-2-Clause
// Landlock: what a program may open after it has restricted itself. Each test restricts a child.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tap.h"

#define READ  (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE LANDLOCK_ACCESS_FS_WRITE_FILE
#define MAKE                                                                                       \
    (LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK |    \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR)
#define ALL (READ | WRITE | MAKE | LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_REFER)

static int create_ruleset(uint64_t handled) {
    struct landlock_ruleset_attr attributes = {.handled_access_fs = handled};
    return (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0);
}

static int add_rule(int ruleset, const char *path, uint64_t allowed) {
    struct landlock_path_beneath_attr attributes = {.allowed_access = allowed,
                                                    .parent_fd = open(path, O_PATH | O_CLOEXEC)};
    int result =
        (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &attributes, 0);
    close(attributes.parent_fd);
    return result;
}

struct grant {
    const char *path;
    uint64_t allowed;
};

static int restrict_self(uint64_t handled, const struct grant *grants, size_t count) {
    int ruleset = create_ruleset(handled), result = ruleset < 0 ? -1 : 0;

    for (size_t i = 0; i < count && !result; i++) {
        result = add_rule(ruleset, grants[i].path, grants[i].allowed);
    }
    if (!result) {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        result = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
    }
    close(ruleset);
    return result;
}

static void in_child(void (*run)(void)) {
    int status;
    fflush(stdout);
    pid_t child = fork();

    if (child == 0) {
        tap_failed_checks = 0;
        run();
        fflush(stdout);
        _exit(tap_failed_checks ? 1 : 0);
    }
    waitpid(child, &status, 0);
    CHECK_EQUAL(status, 0);
}

// 0 or the errno.
static int open_error(const char *path, int flags) {
    int fd = open(path, flags | O_CLOEXEC, 0600);

    if (fd < 0) {
        return errno;
    }
    close(fd);
    return 0;
}

static int failure(int result) {
    return result ? errno : 0;
}

static void make_files(void) {
    mkdir("/ll", 0755);
    mkdir("/ll/in", 0755);
    mkdir("/ll/in/deep", 0755);
    mkdir("/ll/out", 0755);
    close(open("/ll/in/file", O_CREAT | O_WRONLY, 0644));
    close(open("/ll/in/deep/file", O_CREAT | O_WRONLY, 0644));
    close(open("/ll/out/file", O_CREAT | O_WRONLY, 0644));
}

static void read_below(void) {
    const struct grant grants[] = {{"/ll/in", READ}, {"/ll/out/file", WRITE}};
    CHECK_EQUAL(restrict_self(READ | WRITE, grants, 2), 0);
    CHECK_EQUAL(open_error("/ll/in/file", O_RDONLY), 0);
    CHECK_EQUAL(open_error("/ll/in/deep/file", O_RDONLY), 0);
    CHECK_EQUAL(open_error("/ll/in", O_RDONLY | O_DIRECTORY), 0);
    CHECK_EQUAL(open_error("/ll/in/file", O_RDWR), EACCES);
    CHECK_EQUAL(open_error("/ll/in/../out/file", O_RDONLY), EACCES);
    CHECK_EQUAL(open_error("/ll/out/file", O_WRONLY), 0);
    CHECK_EQUAL(open_error("/ll/out", O_RDONLY | O_DIRECTORY), EACCES);
    CHECK_EQUAL(open_error("/dev/kvm", O_RDWR), EACCES);
    CHECK_EQUAL(failure(truncate("/ll/in/file", 0)), EACCES);
    CHECK_EQUAL(failure(truncate("/ll/out/file", 0)), 0);
    CHECK_EQUAL(open_error("/", O_RDONLY | O_DIRECTORY), EACCES);
    CHECK_EQUAL(open_error("/ll/out/file", O_PATH), 0); // names it, no more
    // Not handled: made as ever. What has no path is free too.
    CHECK_EQUAL(failure(mkdir("/ll/new", 0700)), 0);
    CHECK_EQUAL(failure(rmdir("/ll/new")), 0);
    int memory = memfd_create("free", 0);
    CHECK_EQUAL(failure(ftruncate(memory, 4096)), 0);
    CHECK(write(memory, "x", 1) == 1);
}

static void names(void) {
    const struct grant grants[] = {{"/ll/in", ALL}, {"/ll/out", READ | LANDLOCK_ACCESS_FS_REFER}};
    CHECK_EQUAL(restrict_self(ALL, grants, 2), 0);
    CHECK_EQUAL(open_error("/ll/in/made", O_CREAT | O_RDWR), 0);
    CHECK_EQUAL(open_error("/ll/out/made", O_CREAT | O_RDWR), EACCES);
    CHECK_EQUAL(failure(mkdir("/ll/out/made", 0700)), EACCES);
    CHECK_EQUAL(failure(symlink("file", "/ll/in/link")), 0);
    CHECK_EQUAL(failure(rename("/ll/in/made", "/ll/in/moved")), 0);
    CHECK_EQUAL(failure(rename("/ll/in/moved", "/ll/out/moved")), EACCES);
    CHECK_EQUAL(failure(link("/ll/out/file", "/ll/in/gain")), EXDEV); // it could be written there
    CHECK_EQUAL(failure(unlink("/ll/in/moved")), 0);
    CHECK_EQUAL(failure(unlink("/ll/out/file")), EACCES);
}

static int connect_to(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    int error = failure(connect(fd, (struct sockaddr *)&address, sizeof(address)));
    close(fd);
    return error;
}

static int serve(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    unlink(path);
    int error = failure(bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4));
    if (error) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void sockets(void) {
    const struct grant grants[] = {{"/ll/in", WRITE | MAKE}};
    CHECK(serve("/ll/in/socket") >= 0);
    CHECK(serve("/ll/out/socket") >= 0);
    CHECK_EQUAL(restrict_self(WRITE | MAKE, grants, 1), 0);
    CHECK_EQUAL(connect_to("/ll/in/socket"), 0);
    CHECK_EQUAL(connect_to("/ll/out/socket"), EACCES);
    CHECK_EQUAL(serve("/ll/out/other") < 0 ? errno : 0, EACCES);
    CHECK(serve("/ll/in/other") >= 0);
}

static void layers(void) {
    const struct grant wide[] = {{"/ll", READ}}, narrow[] = {{"/ll/in/deep", READ}};
    CHECK_EQUAL(restrict_self(READ, wide, 1), 0);
    CHECK_EQUAL(open_error("/ll/out/file", O_RDONLY), 0);
    CHECK_EQUAL(restrict_self(READ, narrow, 1), 0);
    CHECK_EQUAL(open_error("/ll/in/deep/file", O_RDONLY), 0);
    CHECK_EQUAL(open_error("/ll/out/file", O_RDONLY), EACCES);
    // A child has them too, and nothing gives rights back.
    pid_t child = fork();
    if (child == 0) {
        const struct grant all[] = {{"/", READ}};
        restrict_self(READ, all, 1);
        _exit(open_error("/ll/out/file", O_RDONLY));
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQUAL(WEXITSTATUS(status), EACCES);
    int result = 0;
    for (int i = 0; i < 14 && !result; i++) {
        result = restrict_self(READ, narrow, 1);
    }
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(failure(restrict_self(READ, narrow, 1)), E2BIG);
}

static void execute(void) {
    const struct grant grants[] = {{"/", READ}};
    char *const words[] = {"/init", NULL}, *const none[] = {NULL};
    CHECK_EQUAL(restrict_self(READ | LANDLOCK_ACCESS_FS_EXECUTE, grants, 1), 0);
    CHECK_EQUAL(failure(execve(words[0], words, none)), EACCES);
}

static void processes(void) {
    const struct grant grants[] = {{"/proc", READ}};
    CHECK_EQUAL(restrict_self(READ, grants, 1), 0);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/schedstat", (int)getpid());
    CHECK_EQUAL(open_error(path, O_RDONLY), 0);
    CHECK_EQUAL(open_error("/etc/ashlar.conf", O_RDONLY), EACCES);
}

static void bad_arguments(void) {
    struct landlock_ruleset_attr attributes = {.handled_access_fs = READ};
    struct landlock_path_beneath_attr rule = {.allowed_access = READ, .parent_fd = 0};
    struct {
        struct landlock_ruleset_attr known;
        uint64_t more;
    } later = {.known = attributes};
    CHECK_EQUAL(syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION), 2);
    CHECK_EQUAL(failure(create_ruleset(0) < 0), ENOMSG);
    CHECK_EQUAL(failure(create_ruleset(1ull << 40) < 0), EINVAL);
    int set = (int)syscall(SYS_landlock_create_ruleset, &later, sizeof(later), 0);
    CHECK(set >= 0);
    later.more = 1;
    CHECK_EQUAL(failure(syscall(SYS_landlock_create_ruleset, &later, sizeof(later), 0) < 0), E2BIG);
    CHECK_EQUAL(failure(syscall(SYS_landlock_create_ruleset, &attributes, 4, 0) < 0), EINVAL);
    CHECK_EQUAL(failure(syscall(SYS_landlock_create_ruleset, NULL, 8, 0) < 0), EFAULT);
    CHECK_EQUAL(failure(add_rule(set, "/ll/in", 0) < 0), ENOMSG);
    CHECK_EQUAL(failure(add_rule(set, "/ll/in", WRITE) < 0), EINVAL); // not handled
    CHECK_EQUAL(failure(add_rule(set, "/ll/in/file", LANDLOCK_ACCESS_FS_READ_DIR) < 0), EINVAL);
    CHECK_EQUAL(failure(add_rule(set, "/ll/none", READ) < 0), EBADF);
    CHECK_EQUAL(failure(syscall(SYS_landlock_add_rule, set, 7, &rule, 0) < 0), EINVAL);
    CHECK_EQUAL(failure(add_rule(1, "/ll/in", READ) < 0), EBADFD);
    CHECK_EQUAL(failure(syscall(SYS_landlock_restrict_self, 1, 0) < 0), EBADFD);
    CHECK_EQUAL(failure(syscall(SYS_landlock_restrict_self, -1, 0) < 0), EBADF);
    CHECK_EQUAL(failure(syscall(SYS_landlock_restrict_self, set, 1) < 0), EINVAL);
    int result = 0;
    for (int i = 0; i < 1000 && !result; i++) {
        result = add_rule(set, "/ll/in", READ);
    }
    CHECK_EQUAL(failure(result), E2BIG);
    close(set);
}

#define IN_CHILD(name)                                                                             \
    static void test_##name(void) {                                                                \
        in_child(name);                                                                            \
    }
IN_CHILD(read_below)
IN_CHILD(names)
IN_CHILD(sockets)
IN_CHILD(layers)
IN_CHILD(execute)
IN_CHILD(processes)
IN_CHILD(bad_arguments)

int main(int argc, char **argv) {
    static const struct tap_test tests[] = {
        {"reads and writes below what is granted", test_read_below},
        {"names made, removed and moved", test_names},
        {"sockets by path", test_sockets},
        {"layers only take away", test_layers},
        {"execve needs its right", test_execute},
        {"what /proc makes on the way", test_processes},
        {"bad arguments", test_bad_arguments},
    };

    make_files();
    return tap_run(tests, sizeof(tests) / sizeof(tests[0]), argc > 1 ? argv[1] : NULL);
}
