// SPDX-License-Identifier: BSD-2-Clause
// System calls that take paths and change no name: access, readlink, chmod, truncate, the working
// directory, umask; and those on the size and safety of open files.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include "core/file/directory.h"
#include "core/file/fd_table.h"
#include "core/file/landlock.h"
#include "core/file/path.h"
#include "core/file/regular_file.h"
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/string.h"

#define ACCESS_EXECUTE_BIT 1 // X_OK; R_OK and W_OK are 4 and 2

// Every program is root: all may be read and written; executed only what has an x bit (access(2)).
int64_t sys_faccessat2(const uint64_t *arguments) {
    unsigned mode = (unsigned)arguments[2], flags = (unsigned)arguments[3];
    struct node *node;
    if (mode & ~7u || flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    int error = user_path_find((int)arguments[0], arguments[1],
                               flags & AT_SYMLINK_NOFOLLOW ? 0 : PATH_FOLLOW, &node);
    if (error)
        return error;
    if (mode & ACCESS_EXECUTE_BIT && !node_is(node, S_IFDIR) && !(node->mode & 0111))
        error = -EACCES;
    node_put(node);
    return error;
}

static int64_t read_link(struct node *node, uint64_t address, uint64_t size) {
    if (!node_is(node, S_IFLNK))
        return -EINVAL;
    if (!node->symlink.resolve) {
        size_t length = node->symlink.length < size ? node->symlink.length : size;
        return copy_to_user(address, node->symlink.text, length) ? -EFAULT : (int64_t)length;
    }
    char *target = heap_alloc(PATH_MAX);
    if (!target)
        return -ENOMEM;
    int64_t length = node->symlink.resolve(target, PATH_MAX);
    if (length > (int64_t)size)
        length = (int64_t)size;
    if (length > 0 && copy_to_user(address, target, (size_t)length))
        length = -EFAULT;
    heap_free(target);
    return length;
}

int64_t sys_readlinkat(const uint64_t *arguments) {
    struct node *node;
    if ((int)arguments[3] <= 0)
        return -EINVAL;
    int error = user_path_find((int)arguments[0], arguments[1], 0, &node);
    if (error)
        return error;
    int64_t result = read_link(node, arguments[2], (uint32_t)arguments[3]);
    node_put(node);
    return result;
}

int64_t sys_chdir(const uint64_t *arguments) {
    struct process *process = process_current();
    char directory[sizeof(process->working_directory)];
    struct node *node;
    int error = user_path_find(AT_FDCWD, arguments[0], PATH_FOLLOW, &node);
    if (error)
        return error;
    int64_t length =
        node_is(node, S_IFDIR) ? node_path(node, directory, sizeof(directory)) : -ENOTDIR;
    node_put(node);
    if (length < 0)
        return length == -ERANGE ? -ENAMETOOLONG : length;
    spin_lock(&process->lock);
    memcpy(process->working_directory, directory, (size_t)length + 1);
    spin_unlock(&process->lock);
    return 0;
}

int64_t sys_getcwd(const uint64_t *arguments) {
    struct process *process = process_current();
    char directory[sizeof(process->working_directory)];
    spin_lock(&process->lock);
    memcpy(directory, process->working_directory, sizeof(directory));
    spin_unlock(&process->lock);
    size_t size = strlen(directory) + 1;
    if (size > arguments[1])
        return -ERANGE;
    return copy_to_user(arguments[0], directory, size) ? -EFAULT : (int64_t)size;
}

int64_t sys_umask(const uint64_t *arguments) {
    struct fd_table *table = process_current()->files;
    unsigned old = table->file_mode_mask;
    table->file_mode_mask = (unsigned)arguments[0] & 0777;
    return old;
}

static void change_mode(struct node *node, uint64_t mode) {
    spin_lock(&node->lock);
    node->mode = (node->mode & S_IFMT) | ((uint32_t)mode & 07777);
    spin_unlock(&node->lock);
}

int64_t sys_fchmodat(const uint64_t *arguments) {
    struct node *node;
    int error = user_path_find((int)arguments[0], arguments[1], PATH_FOLLOW, &node);
    if (error)
        return error;
    change_mode(node, arguments[2]);
    node_put(node);
    return 0;
}

int64_t file_fchmod(struct file *file, const uint64_t *arguments) {
    if (!file->node)
        return -EINVAL;
    change_mode(file->node, arguments[1]);
    return 0;
}

int64_t sys_truncate(const uint64_t *arguments) {
    struct node *node;
    if ((int64_t)arguments[1] < 0)
        return -EINVAL;
    int error = user_path_find(AT_FDCWD, arguments[0], PATH_FOLLOW, &node);
    if (error)
        return error;
    if (node_is(node, S_IFDIR))
        error = -EISDIR;
    else if (!node_is(node, S_IFREG) || node->text)
        error = -EINVAL;
    else // as what opens it to write; a right of its own in the third version of Landlock's ABI
        error = landlock_check(node, NULL, LANDLOCK_ACCESS_FS_WRITE_FILE);
    if (!error)
        error = regular_truncate(node, arguments[1]);
    node_put(node);
    return error;
}

int64_t file_ftruncate(struct file *file, const uint64_t *arguments) {
    if ((int64_t)arguments[1] < 0 || file->ops != &regular_file_ops ||
        (file->flags & O_ACCMODE) == O_RDONLY)
        return -EINVAL;
    return regular_truncate(file->node, arguments[1]);
}

int64_t file_fallocate(struct file *file, const uint64_t *arguments) {
    if ((file->flags & O_ACCMODE) == O_RDONLY)
        return -EBADF;
    if (file->ops != &regular_file_ops)
        return -ENODEV;
    return regular_allocate(file->node, (int)arguments[1], arguments[2], arguments[3]);
}

// RAM is as stable as it gets here: once write returns there is nothing more to do for files and
// directories.
int64_t file_fsync(struct file *file, const uint64_t *arguments) {
    return file->ops == &regular_file_ops || file->ops == &directory_ops ? 0 : -EINVAL;
}
