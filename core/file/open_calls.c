// SPDX-License-Identifier: BSD-2-Clause
// open(2), openat(2), and path_open for the kernel's own use.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include "core/file/directory.h"
#include "core/file/fd_table.h"
#include "core/file/landlock.h"
#include "core/file/path.h"
#include "core/file/regular_file.h"
#include "core/file/text_file.h"
#include "core/process/process.h"
#include "core/process/system_call.h"

#define FILE_FLAGS (O_ACCMODE | O_NONBLOCK | O_APPEND | O_DSYNC | O_SYNC | O_DIRECT | O_NOATIME)

static const struct file_ops path_ops = {.name = "path"}; // O_PATH: names a node, does nothing

static struct file *file_on_node(const struct file_ops *ops, struct node *node, uint32_t flags) {
    struct file *file = file_create(ops, node, flags);
    if (file) {
        node_get(node);
        file->node = node;
    }
    return file;
}

static struct file *open_device(struct node *node, int flags, int *error) {
    struct file *file = node->open_device(node->object, flags, error);
    if (file && !file->node) {
        node_get(node);
        file->node = node;
    }
    return file;
}

// Opens what the walk found. The access mode 3 asks for neither; Linux lets only ioctl through, so
// do we.
static struct file *open_node(struct node *node, unsigned flags, int *error) {
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    const struct file_ops *ops = &regular_file_ops;
    *error = 0;
    if (flags & O_PATH) {
        struct file *file =
            file_on_node(&path_ops, node, flags & (O_PATH | O_DIRECTORY | O_NOFOLLOW));
        *error = file ? 0 : -ENOMEM;
        return file;
    }
    if (flags & O_DIRECTORY && !node_is(node, S_IFDIR))
        *error = -ENOTDIR;
    else if (node_is(node, S_IFLNK))
        *error = -ELOOP;
    else if (node_is(node, S_IFSOCK) || node_is(node, S_IFIFO))
        *error = -ENXIO;
    else if (node_is(node, S_IFDIR)) {
        ops = &directory_ops;
        if (writes || flags & O_CREAT)
            *error = -EISDIR;
    } else if (node_is(node, S_IFCHR)) {
        if (node->open_device)
            return open_device(node, (int)flags, error);
        *error = -ENXIO;
    } else if (node->text)
        ops = &text_file_ops;
    else if (flags & O_TRUNC && writes)
        *error = regular_truncate(node, 0);
    if (*error)
        return NULL;
    struct file *file = file_on_node(ops, node, flags & FILE_FLAGS);
    if (!file)
        *error = -ENOMEM;
    return file;
}

// LANDLOCK_ACCESS_FS_* that opening something so needs.
static uint64_t needed_access(const struct node *node, int flags) {
    bool directory = node && node_is(node, S_IFDIR);
    uint64_t access = 0;
    if (flags & O_PATH)
        return 0;
    if ((flags & O_ACCMODE) != O_WRONLY)
        access |= directory ? LANDLOCK_ACCESS_FS_READ_DIR : LANDLOCK_ACCESS_FS_READ_FILE;
    if ((flags & O_ACCMODE) != O_RDONLY)
        access |= LANDLOCK_ACCESS_FS_WRITE_FILE;
    return flags & OPEN_TO_EXECUTE ? access | LANDLOCK_ACCESS_FS_EXECUTE : access;
}

static int create(struct path_result *result, int mode) {
    if (result->needs_directory)
        return -EISDIR;
    if (result->directory->directory.kind)
        return -EACCES;
    int error = landlock_check(NULL, result->directory, LANDLOCK_ACCESS_FS_MAKE_REG);
    if (error)
        return error;
    unsigned mask = process_current()->files->file_mode_mask;
    struct node *node = node_create(S_IFREG | ((unsigned)mode & 07777 & ~mask));
    if (!node)
        return -ENOMEM;
    error = directory_add(result->directory, result->name, result->name_length, node);
    if (error)
        node_put(node);
    else
        result->node = node;
    return error;
}

static struct file *open_temporary(struct node *start, const char *path, int flags, int mode,
                                   int *error) {
    struct node *directory;
    *error = path_find(start, path, PATH_FOLLOW, &directory);
    if (*error)
        return NULL;
    bool is_directory = node_is(directory, S_IFDIR);
    if (!is_directory || (flags & O_ACCMODE) == O_RDONLY)
        *error = is_directory ? -EINVAL : -ENOTDIR;
    else
        *error = landlock_check(NULL, directory, needed_access(NULL, flags));
    node_put(directory);
    if (*error)
        return NULL;
    struct node *node = node_create(S_IFREG | ((unsigned)mode & 07777));
    struct file *file =
        node ? file_on_node(&regular_file_ops, node, (unsigned)flags & FILE_FLAGS) : NULL;
    if (node)
        node_put(node);
    *error = file ? 0 : -ENOMEM;
    return file;
}

static struct file *open_at(struct node *start, const char *path, int flags, int mode, int *error) {
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return open_temporary(start, path, flags, mode, error);
    if (flags & O_PATH)
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    unsigned walk = flags & O_CREAT ? PATH_CREATE : 0;
    if (!(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL))
        walk |= PATH_FOLLOW;
    for (;;) {
        struct path_result result;
        *error = path_walk(start, path, walk, &result);
        if (*error)
            return NULL;
        bool missing = !result.node;
        if (missing)
            *error = create(&result, mode);
        else if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
            *error = -EEXIST;
        struct file *file = NULL;
        if (!*error)
            *error =
                landlock_check(result.node, result.directory, needed_access(result.node, flags));
        if (!*error)
            file = open_node(result.node, (unsigned)flags, error);
        path_result_free(&result);
        if (missing && *error == -EEXIST && !(flags & O_EXCL))
            continue; // another thread made it first
        return file;
    }
}

struct file *path_open(const char *path, int flags, int mode, int *error) {
    return open_at(NULL, path, flags, mode, error);
}

int64_t sys_openat(const uint64_t *arguments) {
    int flags = (int)arguments[2];
    struct user_path user;
    int error = user_path_load(&user, (int)arguments[0], arguments[1]);
    if (error)
        return error;
    struct file *file = open_at(user.start, user.path, flags, (int)arguments[3], &error);
    user_path_free(&user);
    return file ? fd_install(file, flags & O_CLOEXEC) : error;
}
