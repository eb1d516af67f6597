// SPDX-License-Identifier: BSD-2-Clause
// The system calls of Landlock, for which glibc has no functions.
#define _GNU_SOURCE
#include "drivers/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FILE_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE)
// All that the second version of the ABI, Linux 5.19's, can deny but to move between directories,
// which it denies anyway.
#define HANDLED (LANDLOCK_ACCESS_FS_REFER - 1)

static uint64_t landlock_rights(unsigned rights) {
    uint64_t access = 0;

    if (rights & SANDBOX_READ) {
        access |= LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    }
    if (rights & SANDBOX_WRITE) {
        access |= LANDLOCK_ACCESS_FS_WRITE_FILE;
    }
    if (rights & SANDBOX_MAKE) {
        access |= LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SOCK |
                  LANDLOCK_ACCESS_FS_REMOVE_FILE;
    }
    return access;
}

void sandbox_open(struct sandbox *sandbox) {
    const struct landlock_ruleset_attr attributes = {.handled_access_fs = HANDLED};

    *sandbox = (struct sandbox){
        .ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof(attributes), 0)};
    sandbox->error = sandbox->ruleset < 0 ? errno : 0;
}

void sandbox_allow(struct sandbox *sandbox, const char *path, unsigned rights) {
    struct landlock_path_beneath_attr rule = {.allowed_access = landlock_rights(rights)};
    struct stat status;

    if (sandbox->error) {
        return;
    }
    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd >= 0 && fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode)) {
        rule.allowed_access &= FILE_RIGHTS;
    }
    if (rule.parent_fd < 0 || syscall(SYS_landlock_add_rule, sandbox->ruleset,
                                      LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
        sandbox->error = errno;
        sandbox->failed = path;
    }
    if (rule.parent_fd >= 0) {
        close(rule.parent_fd);
    }
}

void sandbox_allow_place(struct sandbox *sandbox, const char *path, unsigned rights) {
    char directory[PATH_MAX] = ".";
    const char *slash = strrchr(path, '/');

    if (slash && (size_t)(slash - path) < sizeof(directory) - 1) {
        size_t length = slash == path ? 1 : (size_t)(slash - path);
        memcpy(directory, path, length);
        directory[length] = '\0';
    }
    sandbox_allow(sandbox, directory, rights);
    if (sandbox->failed == directory) {
        sandbox->failed = path;
    }
}

int sandbox_enter(struct sandbox *sandbox) {
    if (!sandbox->error && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
                            syscall(SYS_landlock_restrict_self, sandbox->ruleset, 0) != 0)) {
        sandbox->error = errno;
    }
    if (sandbox->ruleset >= 0) {
        close(sandbox->ruleset);
    }
    return -sandbox->error;
}
