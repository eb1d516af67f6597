// SPDX-License-Identifier: BSD-2-Clause
// The stat family: stat, lstat, fstat, newfstatat, statx.
#include "core/file/status.h"
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include "core/file/file.h"
#include "core/file/path.h"
#include "core/file/regular_file.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"
#include "core/string.h"

#define BLOCK_SIZE     4096
#define SECTOR_SIZE    512
#define SECOND         1000000000ull
#define DEVICE_NUMBER  1  // st_dev of the one file system
#define DEVICE_PRIVATE 13 // of files without a path, as Linux' anonymous inodes

void node_status(struct node *node, struct stat *status) {
    uint64_t modified = atomic_load_explicit(&node->modified, memory_order_relaxed);
    uint64_t size = 0;
    if (node_is(node, S_IFREG))
        size = regular_size(node);
    else if (node_is(node, S_IFLNK))
        size = node->symlink.length;
    *status = (struct stat){
        .st_dev = DEVICE_NUMBER,
        .st_ino = node->number,
        .st_nlink = node->links,
        .st_mode = node->mode,
        .st_rdev = node->device_number,
        .st_size = (int64_t)size,
        .st_blksize = BLOCK_SIZE,
        .st_blocks = (int64_t)((size + SECTOR_SIZE - 1) / SECTOR_SIZE),
        .st_atime = modified / SECOND,
        .st_atime_nsec = modified % SECOND,
        .st_mtime = modified / SECOND,
        .st_mtime_nsec = modified % SECOND,
        .st_ctime = modified / SECOND,
        .st_ctime_nsec = modified % SECOND,
    };
}

int file_status(struct file *file, struct stat *status) {
    if (file->node) {
        node_status(file->node, status);
        return 0;
    }
    *status = (struct stat){.st_dev = DEVICE_PRIVATE,
                            .st_ino = 1,
                            .st_nlink = 1,
                            .st_mode = 0600,
                            .st_blksize = BLOCK_SIZE};
    return file->ops->status ? file->ops->status(file, status) : 0;
}

static int status_of_fd(int fd, struct stat *status) {
    struct file *file = fd_get(fd);
    if (!file)
        return -EBADF;
    int error = file_status(file, status);
    file_put(file);
    return error;
}

// As fstatat(2): flags AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_NO_AUTOMOUNT.
static int status_at(int directory_fd, uint64_t path_address, unsigned flags, struct stat *status) {
    if (!path_address && flags & AT_EMPTY_PATH)
        return status_of_fd(directory_fd, status);
    struct user_path user;
    struct node *node;
    int error = user_path_load(&user, directory_fd, path_address);
    if (error)
        return error;
    bool empty = !*user.path && flags & AT_EMPTY_PATH;
    if (empty && user.directory) {
        error = file_status(user.directory, status);
    } else {
        error = path_find(user.start, empty ? "." : user.path,
                          flags & AT_SYMLINK_NOFOLLOW ? 0 : PATH_FOLLOW, &node);
        if (!error) {
            node_status(node, status);
            node_put(node);
        }
    }
    user_path_free(&user);
    return error;
}

int64_t sys_newfstatat(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[3];
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT))
        return -EINVAL;
    struct stat status;
    int error = status_at((int)arguments[0], arguments[1], flags, &status);
    return error ? error : copy_to_user(arguments[2], &status, sizeof status);
}

static struct statx_timestamp timestamp(unsigned long seconds, unsigned long nanoseconds) {
    return (struct statx_timestamp){.tv_sec = (int64_t)seconds, .tv_nsec = (uint32_t)nanoseconds};
}

// dev_t as glibc and the kernel pack it: 12 bits of major above 8 of minor, the rest of minor above
// both.
static uint32_t device_major(uint64_t device) {
    return device >> 8 & 0xfff;
}

static uint32_t device_minor(uint64_t device) {
    return (device & 0xff) | (device >> 12 & 0xfff00);
}

int64_t sys_statx(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[2];
    const unsigned known =
        AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_SYNC_TYPE;
    if (flags & ~known || (unsigned)arguments[3] & STATX__RESERVED)
        return -EINVAL;
    struct stat status;
    int error = status_at((int)arguments[0], arguments[1], flags, &status);
    if (error)
        return error;
    struct statx extended = {
        .stx_mask = STATX_BASIC_STATS,
        .stx_blksize = (uint32_t)status.st_blksize,
        .stx_nlink = (uint32_t)status.st_nlink,
        .stx_mode = (uint16_t)status.st_mode,
        .stx_ino = status.st_ino,
        .stx_size = (uint64_t)status.st_size,
        .stx_blocks = (uint64_t)status.st_blocks,
        .stx_atime = timestamp(status.st_atime, status.st_atime_nsec),
        .stx_mtime = timestamp(status.st_mtime, status.st_mtime_nsec),
        .stx_ctime = timestamp(status.st_ctime, status.st_ctime_nsec),
        .stx_rdev_major = device_major(status.st_rdev),
        .stx_rdev_minor = device_minor(status.st_rdev),
        .stx_dev_major = device_major(status.st_dev),
        .stx_dev_minor = device_minor(status.st_dev),
    };
    return copy_to_user(arguments[4], &extended, sizeof(extended));
}
