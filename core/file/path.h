// SPDX-License-Identifier: BSD-2-Clause
// Path walks: from a path string to a node, or to the directory and last name where one is to be
// made.
#pragma once
#include <stdint.h>
#include "core/file/node.h"

enum path_flag {
    PATH_FOLLOW = 1, // a symlink as last component is followed
    PATH_CREATE = 2, // the last name may be missing: `directory` and `name` then say where
};

struct path_result {
    struct node *node;      // with a reference; NULL: missing (PATH_CREATE)
    struct node *directory; // with a reference, of the last name; NULL where the path ends in "/",
                            // "." or ".."
    size_t name_length;
    bool needs_directory; // the path ended in "/"
    char name[NAME_MAX + 1];
};

// Walks from `start` (a directory; NULL: the current process's working directory). 0 or -errno; on
// success give the result to path_result_free.
int path_walk(struct node *start, const char *path, unsigned flags, struct path_result *result);
void path_result_free(struct path_result *result);
// Just the node, with a reference.
int path_find(struct node *start, const char *path, unsigned flags, struct node **node);
// A user's path in a heap buffer of PATH_MAX bytes (heap_free). 0, -EFAULT, -ENAMETOOLONG, -ENOMEM.
// Empty paths are the caller's to refuse.
int path_load(uint64_t address, char **path);

// A user's path and the node it starts from, for the *at calls.
struct user_path {
    char *path;
    struct node *start;     // NULL: the working directory
    struct file *directory; // behind the fd; NULL: it was not looked at
};
// 0 or -errno (-ENOTDIR: the fd is no directory's, but the path is empty where it may be any
// file's); on success give it to user_path_free.
int user_path_load(struct user_path *user, int directory_fd, uint64_t address);
void user_path_free(struct user_path *user);
// The node that a user's path leads to, with a reference. flags: enum path_flag. 0 or -errno.
int user_path_find(int directory_fd, uint64_t address, unsigned flags, struct node **node);
