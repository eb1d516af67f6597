// SPDX-License-Identifier: BSD-2-Clause
// Open files: what an fd refers to. Every kind (initrd file, pipe, eventfd, KVM VM ...) is an ops
// table and an object.
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "core/list.h"

struct file;
struct memory_object;
struct node;
struct poll_table;
struct stat;

// A caller's buffers: scattered pieces of user memory (io_buffer.h).
// Copies move the cursor; where one fails the cursor stands after the last byte that could be
// copied.
struct io_buffer;
int io_copy_to(struct io_buffer *buffer, const void *from,
               size_t size);                                       // file -> caller; 0 or -EFAULT
int io_copy_from(struct io_buffer *buffer, void *to, size_t size); // caller -> file
size_t io_remaining(const struct io_buffer *buffer);

// NULL members: read/write -EINVAL, ioctl -ENOTTY, map -ENODEV, poll always ready, seek -ESPIPE.
struct file_ops {
    const char *name;
    // offset: where to begin (streams ignore it), which only one that appends changes: the caller
    // moves it on. Bytes or -errno. May wait unless O_NONBLOCK.
    int64_t (*read)(struct file *file, struct io_buffer *buffer, uint64_t *offset);
    int64_t (*write)(struct file *file, struct io_buffer *buffer, uint64_t *offset);
    int64_t (*ioctl)(struct file *file, unsigned command, uint64_t argument);
    // The object to map for [offset, offset + size) and the offset in it. Takes a reference for the
    // caller. prot/flags as mmap.
    int (*map)(struct file *file, uint64_t offset, uint64_t size, int prot, int flags,
               struct memory_object **object, uint64_t *object_offset);
    // Adds waiters through the table (may be NULL: just look); returns the EPOLL* events that are
    // ready. Never waits.
    unsigned (*poll)(struct file *file, struct poll_table *table);
    int64_t (*seek)(struct file *file, int64_t offset, int whence);
    int (*status)(struct file *file, struct stat *status);
    void (*release)(struct file *file); // last reference gone; may wait
};

// The memory of a struct file stays a struct file for ever (fd_lookup relies on it): only
// file_create makes one.
struct file {
    const struct file_ops *ops;
    atomic_uint references;
    uint32_t flags; // O_ACCMODE, O_NONBLOCK, O_APPEND (not O_CLOEXEC: the fd's)
    _Atomic uint64_t offset;
    void *object;         // the kind's own
    struct node *node;    // what the path it was opened by names; NULL: opened without a path
    struct list watchers; // epoll items on this file (epoll.c)
    struct file *next;    // free list, or files waiting for their deferred put
};

// NULL: no memory (the caller still owns object).
struct file *file_create(const struct file_ops *ops, void *object, uint32_t flags);
void file_get(struct file *file);
void file_release(struct file *file); // file_put's: the last reference is gone

static inline void file_put(struct file *file) {
    if (__builtin_expect(atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) == 1,
                         0))
        file_release(file);
}

// As file_put, but a release this causes runs from the outermost caller: for release methods that
// drop other files, where a chain of sockets in one another's queues would else exhaust the stack.
void file_put_deferred(struct file *file);

struct wait_queue;
// For poll methods: registers the polling thread or epoll on the queue.
void poll_wait(struct poll_table *table, struct wait_queue *queue);
// What is ready; for a file without a poll method, always readable and writable.
unsigned file_poll(struct file *file, struct poll_table *table);
// fstat of any file. 0 or -errno.
int file_status(struct file *file, struct stat *status);

// The fd table of the current process.
int fd_install(struct file *file,
               bool close_on_exec); // consumes the reference; fd or -EMFILE/-ENOMEM
// Takes a reference; NULL: not open.
struct file *fd_get(int fd);
int fd_close(int fd);
// Creates an unnamed file of these ops and installs it. fd or -errno (object then still the
// caller's).
int fd_create(const struct file_ops *ops, void *object, uint32_t flags, bool close_on_exec);
// Stores two new fds, or the -errno there is instead of one, for the program at `user`. 0, or
// -errno with both closed.
int fd_store_pair(const int fds[2], uint64_t user);

// Paths: an initrd read-only root with a RAM overlay, plus device nodes that other parts register
// at start. Opens `path` relative to the current process's working directory. File or NULL with
// *error.
#define OPEN_TO_EXECUTE 0x20 // beside O_*: the kernel's own, as Linux's __FMODE_EXEC
struct file *path_open(const char *path, int flags, int mode, int *error);
// Makes the file when a device node is opened, or NULL with *error.
typedef struct file *device_open(void *object, int flags, int *error);
// A device node (for example "/dev/kvm") with the number programs know it by, 0 for none; its open
// gets `object`.
void device_register(const char *path, uint32_t number, device_open *open, void *object);
// A read-only file with a text that stays, its directories made on the way. 0 or -errno.
int root_add_text(const char *path, const char *text);
// Mounts the cpio archive (kept in place: it must stay) and puts the configuration at
// /etc/ashlar.conf. 0 or -errno.
int root_init(const void *initrd, size_t size, const char *config, size_t config_size);
// The directory at an absolute path, made with those above it if need be; no reference. 0 or
// -errno.
int root_directory(const char *path, struct node **directory);
// Mounts the tree of control groups at /sys/fs/cgroup. After root_init. 0 or -errno.
int cgroup_mount(void);
int numa_files_add(void); // /sys/devices/system/node. After root_init. 0 or -errno
// A new file on the console, for fds 0, 1 and 2 of the first program; NULL: no memory.
device_open console_open;
// /dev/ttyS1; -ENXIO: the machine has no COM2.
device_open serial_open;
