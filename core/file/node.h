// SPDX-License-Identifier: BSD-2-Clause
// Nodes: what names lead to. The whole tree is in RAM; regular files of the initrd keep their
// content in the archive until they are first written.
#pragma once
#include <linux/limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/file/file.h"
#include "core/file/file_mode.h"
#include "core/list.h"
#include "core/sched/spinlock.h"

struct memory_object;
struct text_file;
struct unix_socket;

struct node;

// Directories that stand for objects of the kernel.
struct directory_kind {
    // mkdir(2) in it, and rmdir(2) of one, which empties it. 0 or -errno.
    int (*make)(struct node *directory, const char *name, size_t length);
    int (*remove)(struct node *directory);
};

struct directory_entry {
    struct list link; // in the directory's entries, by rising cookie
    struct node *directory;
    struct node *node; // holds a reference
    uint64_t cookie;   // getdents64's d_off
    size_t length;
    char name[]; // NUL-terminated
};

struct regular_content {
    const uint8_t *data;          // in the archive; valid while memory is NULL
    uint64_t size;                // bytes
    struct memory_object *memory; // RAM content once written (or a memfd)
    struct memory_object *view;   // read-only mapping of data, made on first mmap
    uint32_t seals;               // F_SEAL_*
    bool mapped_writable;         // a shared writable mapping was made
};

struct node {
    atomic_uint references;
    uint32_t mode; // S_IFMT and permissions
    uint32_t links;
    uint32_t device_number;    // st_rdev
    uint64_t number;           // st_ino
    _Atomic uint64_t modified; // ns since the Unix epoch
    struct spinlock lock;      // regular content and its size; file locks
    struct directory_entry
        *entry;        // its (last) name; NULL: the root, or no name any more. Under tree_lock
    struct list locks; // advisory record locks (file_lock.c)
    // A regular file's: its content is made by these (text_file.h) for `object`; else NULL.
    const struct text_file *text;
    void *object; // a symlink's: its text if that is on the heap; a directory's: its kind's own;
                  // a device's: what its open gets
    union {
        struct {
            struct list entries;
            uint64_t next_cookie;
            const struct directory_kind *kind; // NULL: names are made and removed freely
            // Makes what is not among the entries when it is looked for: a node with one
            // reference and no name, or NULL. Under tree_lock. NULL: nothing.
            struct node *(*make)(struct node *directory, const char *name, size_t length);
            struct node *made_in; // what it was so made in, itself there for ever; else NULL
        } directory;
        struct regular_content regular;
        struct {
            const char *text; // not terminated
            size_t length;
            int64_t (*resolve)(
                char *to, size_t size); // when the target depends on who asks; length or -errno
        } symlink;
        device_open *open_device;   // for `object`
        struct unix_socket *socket; // bound and alive; under tree_lock
    };
};

// All names: directories' entries and nodes' `entry`. Above every lock of a file object.
extern struct spinlock tree_lock;

// With one reference and no name. NULL: no memory.
struct node *node_create(uint32_t mode);
void node_get(struct node *node);
void node_put(struct node *node);
bool node_is(const struct node *node, uint32_t type); // type: S_IF*
void node_touch(struct node *node);                   // modified now
struct node *node_root(void);                         // no reference taken

// tree_lock held:
struct directory_entry *directory_find(struct node *directory, const char *name, size_t length);
// Where a node's (last) name is: no reference. The root's is the root, that of what has no name it.
struct node *node_parent(struct node *node);
void directory_entry_remove(struct directory_entry *entry); // unlinked; to be given to
                                                            // directory_entry_free without the lock

// Links the entry into the directory. 0, -EEXIST, -ENOENT (the directory has been removed).
int directory_insert(struct node *directory, struct directory_entry *entry);

// A name yet without a place, with a reference on the node. NULL: no memory.
struct directory_entry *directory_entry_create(const char *name, size_t length, struct node *node);
void directory_entry_free(struct directory_entry *entry); // drops the node
// Names a node (taking a reference on it). 0, -EEXIST, -ENOENT (directory has been removed),
// -ENOMEM.
int directory_add(struct node *directory, const char *name, size_t length, struct node *node);
// The absolute path of a named node. Length without NUL, -ENOENT (no name) or -ERANGE (size too
// small).
int64_t node_path(struct node *node, char *to, size_t size);
