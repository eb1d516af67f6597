// SPDX-License-Identifier: BSD-2-Clause
// statfs(2) and fstatfs(2): what kind of file system a file is on.
#include <asm/statfs.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/limits.h>
#include <linux/magic.h>
#include "core/file/file.h"
#include "core/file/path.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"
#include "core/string.h"

// All is in RAM; directories of another kind (node.h) and their files are those of control groups.
static int64_t give(struct node *node, uint64_t address) {
    struct statfs status;
    spin_lock(&tree_lock);
    const struct node *directory =
        node && !node_is(node, S_IFDIR) ? node->entry ? node->entry->directory : NULL : node;
    bool cgroup = directory && directory->directory.kind;
    spin_unlock(&tree_lock);
    memset(&status, 0, sizeof status);
    status.f_type = cgroup ? CGROUP2_SUPER_MAGIC : TMPFS_MAGIC;
    status.f_bsize = status.f_frsize = PAGE_SIZE;
    status.f_namelen = NAME_MAX;
    if (!cgroup) {
        status.f_blocks = (long)(page_total() / PAGE_SIZE);
        status.f_bfree = status.f_bavail = (long)(page_free_bytes() / PAGE_SIZE);
    }
    return copy_to_user(address, &status, sizeof status);
}

int64_t sys_statfs(const uint64_t *arguments) {
    struct node *node;
    int64_t result = user_path_find(AT_FDCWD, arguments[0], PATH_FOLLOW, &node);
    if (result)
        return result;
    result = give(node, arguments[1]);
    node_put(node);
    return result;
}

int64_t sys_fstatfs(const uint64_t *arguments) {
    struct file *file = fd_get((int)arguments[0]);
    if (!file)
        return -EBADF;
    int64_t result = give(file->node, arguments[1]);
    file_put(file);
    return result;
}
