// SPDX-License-Identifier: BSD-2-Clause
// System calls that give, take and change names: mkdir, symlink, link, unlink, rename.
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include "core/file/fd_table.h"
#include "core/file/landlock.h"
#include "core/file/path.h"
#include "core/mm/heap.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/string.h"

// LANDLOCK_ACCESS_FS_* for making and removing a name of such a node.
static uint64_t making(const struct node *node) {
    return node_is(node, S_IFDIR)    ? LANDLOCK_ACCESS_FS_MAKE_DIR
           : node_is(node, S_IFLNK)  ? LANDLOCK_ACCESS_FS_MAKE_SYM
           : node_is(node, S_IFSOCK) ? LANDLOCK_ACCESS_FS_MAKE_SOCK
           : node_is(node, S_IFCHR)  ? LANDLOCK_ACCESS_FS_MAKE_CHAR
                                     : LANDLOCK_ACCESS_FS_MAKE_REG;
}

static uint64_t removing(const struct node *node) {
    return node_is(node, S_IFDIR) ? LANDLOCK_ACCESS_FS_REMOVE_DIR : LANDLOCK_ACCESS_FS_REMOVE_FILE;
}

static int add_name(struct path_result *result, struct node *node) {
    struct node *directory = result->directory;
    const struct directory_kind *kind = directory->directory.kind;
    int error = landlock_check(NULL, directory, making(node));
    if (!error && node->links) // a second name
        error = landlock_check_refer(node, NULL, directory);
    if (error)
        return error;
    if (!kind)
        return directory_add(directory, result->name, result->name_length, node);
    return node_is(node, S_IFDIR) ? kind->make(directory, result->name, result->name_length)
                                  : -EPERM;
}

// Names a node, and drops the caller's reference on it. node NULL: -ENOMEM.
static int64_t name_node(int directory_fd, uint64_t path, struct node *node) {
    struct user_path user;
    struct path_result result;
    int error = node ? user_path_load(&user, directory_fd, path) : -ENOMEM;
    if (!error) {
        error = path_walk(user.start, user.path, PATH_CREATE, &result);
        if (!error) {
            if (result.node)
                error = -EEXIST;
            else if (result.needs_directory && !node_is(node, S_IFDIR))
                error = -ENOENT;
            else
                error = add_name(&result, node);
            path_result_free(&result);
        }
        user_path_free(&user);
    }
    if (node)
        node_put(node);
    return error;
}

int64_t sys_mkdirat(const uint64_t *arguments) {
    unsigned mode = (unsigned)arguments[2] & 07777 & ~process_current()->files->file_mode_mask;
    return name_node((int)arguments[0], arguments[1], node_create(S_IFDIR | mode));
}

int64_t sys_symlinkat(const uint64_t *arguments) {
    char *text;
    int error = path_load(arguments[0], &text);
    if (error)
        return error;
    struct node *node = *text ? node_create(S_IFLNK | 0777) : NULL;
    if (!node) {
        error = *text ? -ENOMEM : -ENOENT;
        heap_free(text);
        return error;
    }
    node->symlink.text = node->object = text;
    node->symlink.length = strlen(text);
    return name_node((int)arguments[1], arguments[2], node);
}

int64_t sys_linkat(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[4];
    struct node *node;
    if (flags & ~AT_SYMLINK_FOLLOW)
        return -EINVAL;
    int error = user_path_find((int)arguments[0], arguments[1], flags ? PATH_FOLLOW : 0, &node);
    if (error)
        return error;
    if (!node_is(node, S_IFDIR))
        return name_node((int)arguments[2], arguments[3], node);
    node_put(node);
    return -EPERM;
}

static int remove_checked(struct path_result *result, bool directory,
                          struct directory_entry **removed) {
    struct directory_entry *entry =
        directory_find(result->directory, result->name, result->name_length);
    if (!entry)
        return -ENOENT; // gone since the walk
    bool is_directory = node_is(entry->node, S_IFDIR);
    if (directory && !is_directory)
        return -ENOTDIR;
    if (!directory && is_directory)
        return -EISDIR;
    if (is_directory && !list_empty(&entry->node->directory.entries))
        return -ENOTEMPTY;
    directory_entry_remove(entry);
    *removed = entry;
    return 0;
}

// What the kind of a directory has to say about a name that is to go.
static int ask_kind(const struct path_result *result, bool directory) {
    if (directory && node_is(result->node, S_IFDIR))
        return result->node->directory.kind ? result->node->directory.kind->remove(result->node)
                                            : 0;
    return result->directory->directory.kind ? -EPERM : 0;
}

int64_t sys_unlinkat(const uint64_t *arguments) {
    bool directory = arguments[2] & AT_REMOVEDIR;
    struct user_path user;
    struct path_result result;
    if ((unsigned)arguments[2] & ~AT_REMOVEDIR)
        return -EINVAL;
    int error = user_path_load(&user, (int)arguments[0], arguments[1]);
    if (error)
        return error;
    error = path_walk(user.start, user.path, 0, &result);
    if (!error && !result.directory) {
        error = directory ? result.name_length == 1 ? -EINVAL : -EBUSY : -EISDIR;
        path_result_free(&result);
    } else if (!error) {
        struct directory_entry *removed = NULL;
        error = landlock_check(NULL, result.directory, removing(result.node));
        if (!error)
            error = ask_kind(&result, directory);
        spin_lock(&tree_lock);
        if (!error)
            error = remove_checked(&result, directory, &removed);
        spin_unlock(&tree_lock);
        if (removed) {
            node_touch(result.directory);
            directory_entry_free(removed);
        }
        path_result_free(&result);
    }
    user_path_free(&user);
    return error;
}

static bool is_below(struct node *node, const struct node *directory) {
    for (; node != directory; node = node_parent(node))
        if (!node->entry) // the root, or removed
            return false;
    return true;
}

// tree_lock held. replaced: what has the new name; may be NULL.
static int check_rename(const struct path_result *from, const struct path_result *to,
                        const struct directory_entry *old, const struct directory_entry *replaced,
                        unsigned flags) {
    if (!old || old->node != from->node)
        return -ENOENT; // gone since the walk
    if (from->directory->directory.kind || to->directory->directory.kind)
        return -EPERM;
    bool directory = node_is(old->node, S_IFDIR);
    if (directory && is_below(to->directory, old->node))
        return -EINVAL;
    if (!directory && (from->needs_directory || to->needs_directory))
        return -ENOTDIR;
    if (!replaced)
        return 0;
    if (flags & RENAME_NOREPLACE)
        return -EEXIST;
    bool onto_directory = node_is(replaced->node, S_IFDIR);
    if (directory != onto_directory)
        return directory ? -ENOTDIR : -EISDIR;
    return onto_directory && !list_empty(&replaced->node->directory.entries) ? -ENOTEMPTY : 0;
}

static int may_move(const struct path_result *from, const struct path_result *to) {
    int error = landlock_check(NULL, from->directory, removing(from->node));
    if (!error)
        error = landlock_check(NULL, to->directory,
                               making(from->node) | (to->node ? removing(to->node) : 0));
    return error ? error : landlock_check_refer(from->node, from->directory, to->directory);
}

static int move_name(struct path_result *from, struct path_result *to, unsigned flags) {
    int error = may_move(from, to);
    if (error)
        return error;
    struct directory_entry *fresh = directory_entry_create(to->name, to->name_length, from->node);
    struct directory_entry *old, *replaced;
    if (!fresh)
        return -ENOMEM;
    spin_lock(&tree_lock);
    old = directory_find(from->directory, from->name, from->name_length);
    replaced = directory_find(to->directory, to->name, to->name_length);
    error = check_rename(from, to, old, replaced, flags);
    // Two names of one file: POSIX wants nothing to happen.
    bool same = !error && replaced && replaced->node == old->node;
    if (!error && !same) {
        if (replaced)
            directory_entry_remove(replaced);
        error = directory_insert(to->directory, fresh);
        if (!error)
            directory_entry_remove(old);
    }
    spin_unlock(&tree_lock);
    if (error || same) {
        directory_entry_free(fresh);
        return error;
    }
    node_touch(from->directory);
    node_touch(to->directory);
    directory_entry_free(old);
    if (replaced)
        directory_entry_free(replaced);
    return 0;
}

int64_t sys_renameat2(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[4];
    struct user_path from, to;
    struct path_result old, new;
    if (flags & ~(unsigned)RENAME_NOREPLACE)
        return -EINVAL;
    int error = user_path_load(&from, (int)arguments[0], arguments[1]);
    if (error)
        return error;
    error = user_path_load(&to, (int)arguments[2], arguments[3]);
    if (!error) {
        error = path_walk(from.start, from.path, 0, &old);
        if (!error) {
            error = path_walk(to.start, to.path, PATH_CREATE, &new);
            if (!error) {
                error = old.directory && new.directory ? move_name(&old, &new, flags) : -EBUSY;
                path_result_free(&new);
            }
            path_result_free(&old);
        }
        user_path_free(&to);
    }
    user_path_free(&from);
    return error;
}
