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
static int64_t access_call(int directory_fd, uint64_t path, unsigned mode, unsigned flags) {
    struct node *node;
    if (mode & ~7u)
        return -EINVAL;
    int error =
        user_path_find(directory_fd, path, flags & AT_SYMLINK_NOFOLLOW ? 0 : PATH_FOLLOW, &node);
    if (error)
        return error;
    if (mode & ACCESS_EXECUTE_BIT && !node_is(node, S_IFDIR) && !(node->mode & 0111))
        error = -EACCES;
    node_put(node);
    return error;
}

int64_t sys_access(const uint64_t *arguments) {
    return access_call(AT_FDCWD, arguments[0], (unsigned)arguments[1], 0);
}

int64_t sys_faccessat(const uint64_t *arguments) {
    return access_call((int)arguments[0], arguments[1], (unsigned)arguments[2], 0);
}

int64_t sys_faccessat2(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[3];
    if (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    return access_call((int)arguments[0], arguments[1], (unsigned)arguments[2], flags);
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

static int64_t readlink_call(int directory_fd, uint64_t path, uint64_t address, int size) {
    struct node *node;
    if (size <= 0)
        return -EINVAL;
    int error = user_path_find(directory_fd, path, 0, &node);
    if (error)
        return error;
    int64_t result = read_link(node, address, (uint64_t)size);
    node_put(node);
    return result;
}

int64_t sys_readlink(const uint64_t *arguments) {
    return readlink_call(AT_FDCWD, arguments[0], arguments[1], (int)arguments[2]);
}

int64_t sys_readlinkat(const uint64_t *arguments) {
    return readlink_call((int)arguments[0], arguments[1], arguments[2], (int)arguments[3]);
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

static int64_t chmod_call(int directory_fd, uint64_t path, uint64_t mode) {
    struct node *node;
    int error = user_path_find(directory_fd, path, PATH_FOLLOW, &node);
    if (error)
        return error;
    change_mode(node, mode);
    node_put(node);
    return 0;
}

int64_t sys_chmod(const uint64_t *arguments) {
    return chmod_call(AT_FDCWD, arguments[0], arguments[1]);
}

int64_t sys_fchmodat(const uint64_t *arguments) {
    return chmod_call((int)arguments[0], arguments[1], arguments[2]);
}

int64_t sys_fchmod(const uint64_t *arguments) {
    struct file *file = fd_get((int)arguments[0]);
    if (!file || file->flags & O_PATH) {
        if (file)
            file_put(file);
        return -EBADF;
    }
    if (file->node)
        change_mode(file->node, arguments[1]);
    int64_t result = file->node ? 0 : -EINVAL;
    file_put(file);
    return result;
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

int64_t sys_ftruncate(const uint64_t *arguments) {
    if ((int64_t)arguments[1] < 0)
        return -EINVAL;
    struct file *file = fd_get((int)arguments[0]);
    if (!file)
        return -EBADF;
    int64_t result = -EINVAL;
    if (file->flags & O_PATH)
        result = -EBADF;
    else if (file->ops->truncate && (file->flags & O_ACCMODE) != O_RDONLY)
        result = file->ops->truncate(file, arguments[1]);
    file_put(file);
    return result;
}

int64_t sys_fallocate(const uint64_t *arguments) {
    struct file *file = fd_get((int)arguments[0]);
    if (!file)
        return -EBADF;
    int64_t result = -ENODEV;
    if ((file->flags & O_ACCMODE) == O_RDONLY || file->flags & O_PATH)
        result = -EBADF;
    else if (file->ops == &regular_file_ops)
        result = regular_allocate(file->node, (int)arguments[1], arguments[2], arguments[3]);
    file_put(file);
    return result;
}

// RAM is as stable as it gets here: once write returns there is nothing more to do for files and
// directories.
static int64_t sync_call(int fd) {
    struct file *file = fd_get(fd);
    if (!file)
        return -EBADF;
    bool stored = file->ops == &regular_file_ops || file->ops == &directory_ops;
    bool only_path = file->flags & O_PATH;
    file_put(file);
    return only_path ? -EBADF : stored ? 0 : -EINVAL;
}

int64_t sys_fsync(const uint64_t *arguments) {
    return sync_call((int)arguments[0]);
}

int64_t sys_fdatasync(const uint64_t *arguments) {
    return sync_call((int)arguments[0]);
}
