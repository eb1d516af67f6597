// SPDX-License-Identifier: BSD-2-Clause
// Where the file's blocks lie is read once; data then goes to and from them without the library. A
// block for a hole is marked as used, and zeroed, before the file names it: a death in between
// costs a block, never data. A thread does that, so that nobody else waits for it.
#include "drivers/block/ext4_file.h"

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_MAX (1u << 20) // bytes that the library's reads and writes are cut into

struct ext4 {
    ext2_filsys library;
    struct block_device *disk;
    pthread_mutex_t library_lock;
    pthread_mutex_t lock; // of the files' runs and of what follows
    pthread_cond_t some;
    struct block_request *waiting, **last; // writes to holes
};

struct run {
    uint64_t logical, physical, blocks;
    bool unwritten; // reads as zeros
};

struct ext4_file {
    struct block_device device;
    struct ext4 *fs;
    ext2_ino_t inode;
    struct run *runs; // in order
    size_t count;
};

// A request that lies in several runs.
struct split {
    struct block_request *request;
    unsigned left; // children, and one for who makes them
    int error;
};

struct child {
    struct block_request request;
    struct split *split;
    struct iovec data[];
};

// The library's access to the disk ----------------------------------------------------------------

static struct struct_io_manager manager;
static struct block_device *mounting; // handed to channel_open

static errcode_t channel_open(const char *name, int flags, io_channel *channel) {
    io_channel new = calloc(1, sizeof(*new));

    (void)name;
    (void)flags;
    if (!new)
        return EXT2_ET_NO_MEMORY;
    new->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    new->manager = &manager;
    new->block_size = 1024;
    new->refcount = 1;
    new->private_data = mounting;
    *channel = new;
    return 0;
}

static errcode_t channel_close(io_channel channel) {
    if (--channel->refcount == 0)
        free(channel);
    return 0;
}

static errcode_t channel_set_block_size(io_channel channel, int size) {
    channel->block_size = size;
    return 0;
}

// The superblock may be smaller than a block of the disk.
static errcode_t move_within(struct block_device *disk, enum block_operation operation,
                             uint64_t offset, uint8_t *data, uint64_t size) {
    uint8_t block[BLOCK_LOGICAL_MAX];
    uint64_t at = offset & (disk->logical_block - 1);

    if (size > disk->logical_block - at)
        return EINVAL;
    int error = block_transfer(disk, BLOCK_READ, offset - at, block, disk->logical_block);
    if (error)
        return -error;
    if (operation == BLOCK_READ) {
        memcpy(data, block + at, size);
        return 0;
    }
    memcpy(block + at, data, size);
    return -block_transfer(disk, BLOCK_WRITE, offset - at, block, disk->logical_block);
}

// count is in blocks, or, where it is negative, in bytes.
static errcode_t channel_move(io_channel channel, enum block_operation operation, uint64_t block,
                              int count, uint8_t *data) {
    struct block_device *disk = channel->private_data;
    uint64_t size = count < 0 ? (uint64_t)-count : (uint64_t)count * (unsigned)channel->block_size;
    uint64_t offset = block * (unsigned)channel->block_size;

    if (offset > disk->sectors * BLOCK_SECTOR_SIZE ||
        size > disk->sectors * BLOCK_SECTOR_SIZE - offset)
        return EINVAL;
    if ((offset | size) & (disk->logical_block - 1))
        return move_within(disk, operation, offset, data, size);
    while (size) {
        size_t piece = size < PIECE_MAX ? size : PIECE_MAX;
        int error = block_transfer(disk, operation, offset, data, piece);

        if (error)
            return -error;
        offset += piece;
        data += piece;
        size -= piece;
    }
    return 0;
}

static errcode_t channel_read(io_channel channel, unsigned long long block, int count, void *data) {
    return channel_move(channel, BLOCK_READ, block, count, data);
}

static errcode_t channel_write(io_channel channel, unsigned long long block, int count,
                               const void *data) {
    return channel_move(channel, BLOCK_WRITE, block, count, (void *)(uintptr_t)data);
}

static errcode_t channel_read_32(io_channel channel, unsigned long block, int count, void *data) {
    return channel_read(channel, block, count, data);
}

static errcode_t channel_write_32(io_channel channel, unsigned long block, int count,
                                  const void *data) {
    return channel_write(channel, block, count, data);
}

static errcode_t channel_flush(io_channel channel) {
    return -block_transfer(channel->private_data, BLOCK_FLUSH, 0, NULL, 0);
}

static struct struct_io_manager manager = {.magic = EXT2_ET_MAGIC_IO_MANAGER,
                                           .name = "disk",
                                           .open = channel_open,
                                           .close = channel_close,
                                           .set_blksize = channel_set_block_size,
                                           .read_blk = channel_read_32,
                                           .write_blk = channel_write_32,
                                           .read_blk64 = channel_read,
                                           .write_blk64 = channel_write,
                                           .flush = channel_flush};

// errno's numbers come through the library as they are; it has its own, too.
static int to_errno(errcode_t error) {
    return error == EXT2_ET_FILE_NOT_FOUND || error == EXT2_ET_NO_DIRECTORY ? ENOENT
           : error > 0 && error < 200                                       ? (int)error
           : error == EXT2_ET_BLOCK_ALLOC_FAIL                              ? ENOSPC
                                                                            : EUCLEAN;
}

// Where the file's blocks are ---------------------------------------------------------------------

// The run that holds a logical block, or the first one behind it.
static size_t find_run(const struct ext4_file *file, uint64_t block) {
    size_t low = 0, high = file->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct run *run = &file->runs[middle];

        if (run->logical + run->blocks > block)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static errcode_t read_runs(struct ext4_file *file) {
    ext2_extent_handle_t handle;
    struct ext2fs_extent extent;
    errcode_t error = ext2fs_extent_open(file->fs->library, file->inode, &handle);
    struct run *runs = NULL;
    size_t count = 0;

    if (error)
        return error;
    error = ext2fs_extent_get(handle, EXT2_EXTENT_ROOT, &extent);
    while (!error) {
        if (extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) {
            if (count % 64 == 0) {
                struct run *more = realloc(runs, (count + 64) * sizeof(*runs));

                if (!more) {
                    error = ENOMEM;
                    break;
                }
                runs = more;
            }
            runs[count++] = (struct run){extent.e_lblk, extent.e_pblk, extent.e_len,
                                         extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT};
        }
        error = ext2fs_extent_get(handle, EXT2_EXTENT_NEXT_LEAF, &extent);
    }
    ext2fs_extent_free(handle);
    if (error != EXT2_ET_EXTENT_NO_NEXT && error != EXT2_ET_NO_CURRENT_NODE) {
        free(runs);
        return error;
    }
    pthread_mutex_lock(&file->fs->lock);
    free(file->runs);
    file->runs = runs;
    file->count = count;
    pthread_mutex_unlock(&file->fs->lock);
    return 0;
}

static errcode_t zero_block(const struct ext4 *fs, uint64_t block) {
    static const uint8_t zeros[65536];

    return channel_write(fs->library->io, block, 1, zeros);
}

static errcode_t allocate(struct ext4 *fs, uint64_t goal, blk64_t *block) {
    ext2_filsys library = fs->library;
    errcode_t error = ext2fs_new_block2(library, goal, NULL, block);

    if (error)
        return error;
    ext2fs_block_alloc_stats2(library, *block, 1);
    error = ext2fs_write_bitmaps(library);
    error = error ? error : zero_block(fs, *block);
    return error ? error : ext2fs_flush(library);
}

// A block of the file that reads as zeros gets one of the disk.
static errcode_t fill_block(struct ext4_file *file, uint64_t logical) {
    ext2_filsys library = file->fs->library;
    size_t at = find_run(file, logical);
    const struct run *run = &file->runs[at];
    bool has_block = at < file->count && run->logical <= logical;
    blk64_t block = has_block ? run->physical + (logical - run->logical) : 0;
    ext2_extent_handle_t handle;
    struct ext2_inode inode;
    errcode_t error = has_block ? zero_block(file->fs, block)
                                : allocate(file->fs, at ? file->runs[at - 1].physical : 0, &block);

    error = error ? error : ext2fs_extent_open(library, file->inode, &handle);
    if (error)
        return error;
    error = ext2fs_extent_set_bmap(handle, logical, block, 0);
    ext2fs_extent_free(handle);
    error = error ? error : ext2fs_read_inode(library, file->inode, &inode);
    if (!error && !has_block) {
        ext2fs_iblk_add_blocks(library, &inode, 1);
        error = ext2fs_write_inode(library, file->inode, &inode);
    }
    return error ? error : ext2fs_flush(library);
}

// Looks for a block that reads as zeros from the one at an offset on, up to an end. False: none.
static bool find_hole(const struct ext4_file *file, uint64_t offset, uint64_t end,
                      uint64_t *block) {
    uint64_t size = file->fs->library->blocksize;

    *block = offset / size;
    while (*block * size < end) {
        size_t at = find_run(file, *block);
        const struct run *run = &file->runs[at];

        if (at == file->count || run->logical > *block || run->unwritten)
            return true;
        *block = run->logical + run->blocks;
    }
    return false;
}

// All blocks of the range are the file's own afterwards. On the thread that alone changes runs.
static errcode_t fill(struct ext4_file *file, uint64_t offset, uint64_t length) {
    errcode_t error = 0;
    uint64_t block;

    pthread_mutex_lock(&file->fs->library_lock);
    while (!error && find_hole(file, offset, offset + length, &block)) {
        error = fill_block(file, block);
        error = error ? error : read_runs(file);
    }
    pthread_mutex_unlock(&file->fs->library_lock);
    return error;
}

// Requests ----------------------------------------------------------------------------------------

static void end_part(struct split *split, int error) {
    if (error)
        __atomic_store_n(&split->error, error, __ATOMIC_RELAXED);
    if (__atomic_sub_fetch(&split->left, 1, __ATOMIC_ACQ_REL) == 0) {
        split->request->done(split->request, split->error);
        free(split);
    }
}

static void child_done(struct block_request *request, int error) {
    struct child *child = (struct child *)request;

    end_part(child->split, error);
    free(child);
}

// The next `length` bytes of the data, for a child or to be zeroed. Returns the pieces copied.
static unsigned take_data(struct block_request *request, uint64_t length, struct iovec *to) {
    unsigned count = 0;

    while (length && request->count) {
        struct iovec *piece = request->data;
        size_t size = piece->iov_len < length ? piece->iov_len : length;

        if (to)
            to[count++] = (struct iovec){piece->iov_base, size};
        else
            memset(piece->iov_base, 0, size);
        piece->iov_base = (uint8_t *)piece->iov_base + size;
        piece->iov_len -= size;
        length -= size;
        if (!piece->iov_len) {
            request->data++;
            request->count--;
        }
    }
    return count;
}

static int submit_part(struct ext4_file *file, struct split *split, uint64_t physical,
                       uint64_t length) {
    struct block_request *request = split->request;
    struct child *child = malloc(sizeof(*child) + request->count * sizeof(child->data[0]));

    if (!child)
        return -ENOMEM;
    __atomic_add_fetch(&split->left, 1, __ATOMIC_RELAXED);
    *child = (struct child){.request = {.operation = request->operation,
                                        .queue = request->queue,
                                        .offset = physical,
                                        .length = length,
                                        .data = child->data,
                                        .done = child_done},
                            .split = split};
    child->request.count = take_data(request, length, child->data);
    block_submit(file->fs->disk, &child->request);
    return 0;
}

// Bytes from an offset on that lie in one piece, and where: false for what reads as zeros.
static bool locate(const struct ext4_file *file, uint64_t offset, uint64_t *physical,
                   uint64_t *length) {
    uint64_t size = file->fs->library->blocksize;
    size_t at = find_run(file, offset / size);
    const struct run *run = &file->runs[at];
    uint64_t end = UINT64_MAX;
    bool inside = at < file->count && run->logical <= offset / size;

    if (at < file->count)
        end = (inside ? run->logical + run->blocks : run->logical) * size;
    if (*length > end - offset)
        *length = end - offset;
    if (!inside || run->unwritten)
        return false;
    *physical = run->physical * size + (offset - run->logical * size);
    return true;
}

static void submit_split(struct ext4_file *file, struct block_request *request) {
    struct split *split = malloc(sizeof(*split));

    if (!split) {
        request->done(request, -ENOMEM);
        return;
    }
    *split = (struct split){.request = request, .left = 1};
    int error = 0;
    for (uint64_t done = 0; !error && done < request->length;) {
        uint64_t physical, length = request->length - done;

        pthread_mutex_lock(&file->fs->lock);
        bool inside = locate(file, request->offset + done, &physical, &length);
        pthread_mutex_unlock(&file->fs->lock);
        if (inside)
            error = submit_part(file, split, physical, length);
        else
            take_data(request, length, NULL);
        done += length;
    }
    end_part(split, error);
}

static void pass_on(struct ext4_file *file, struct block_request *request) {
    uint64_t physical = 0, length = request->length;

    pthread_mutex_lock(&file->fs->lock);
    bool inside = locate(file, request->offset, &physical, &length);
    pthread_mutex_unlock(&file->fs->lock);
    if (inside && length == request->length) {
        request->offset = physical;
        block_submit(file->fs->disk, request);
    } else {
        submit_split(file, request);
    }
}

static void *fill_holes(void *argument) {
    struct ext4 *fs = argument;

    for (;;) {
        pthread_mutex_lock(&fs->lock);
        while (!fs->waiting)
            pthread_cond_wait(&fs->some, &fs->lock);
        struct block_request *request = fs->waiting;
        fs->waiting = request->next;
        if (!fs->waiting)
            fs->last = &fs->waiting;
        pthread_mutex_unlock(&fs->lock);

        struct ext4_file *file = request->disk;
        errcode_t error = fill(file, request->offset, request->length);
        if (error)
            request->done(request, -to_errno(error));
        else
            pass_on(file, request);
    }
    return NULL;
}

static bool wait_for_blocks(struct ext4_file *file, struct block_request *request) {
    struct ext4 *fs = file->fs;
    uint64_t block;

    pthread_mutex_lock(&fs->lock);
    bool waits = find_hole(file, request->offset, request->offset + request->length, &block);
    if (waits) {
        request->disk = file;
        request->next = NULL;
        *fs->last = request;
        fs->last = &request->next;
        pthread_cond_signal(&fs->some);
    }
    pthread_mutex_unlock(&fs->lock);
    return waits;
}

static void submit(struct block_device *device, struct block_request *request) {
    struct ext4_file *file = (struct ext4_file *)device;

    if (request->operation == BLOCK_FLUSH)
        block_submit(file->fs->disk, request);
    else if (request->operation != BLOCK_WRITE || !wait_for_blocks(file, request))
        pass_on(file, request);
}

static void poll(struct block_device *device, unsigned queue) {
    struct block_device *disk = ((struct ext4_file *)device)->fs->disk;

    disk->poll(disk, queue);
}

static int map(struct block_device *device, void *address, size_t size) {
    struct block_device *disk = ((struct ext4_file *)device)->fs->disk;

    return disk->map(disk, address, size);
}

static void unmap(struct block_device *device, void *address, size_t size) {
    struct block_device *disk = ((struct ext4_file *)device)->fs->disk;

    disk->unmap(disk, address, size);
}

struct ext4 *ext4_mount(struct block_device *disk, bool read_only) {
    struct ext4 *fs = calloc(1, sizeof(*fs));
    pthread_t filler;

    if (!fs)
        return NULL;
    fs->disk = disk;
    fs->last = &fs->waiting;
    pthread_mutex_init(&fs->lock, NULL);
    pthread_mutex_init(&fs->library_lock, NULL);
    pthread_cond_init(&fs->some, NULL);
    mounting = disk;
    errcode_t error = ext2fs_open2("disk", NULL, EXT2_FLAG_64BITS | (read_only ? 0 : EXT2_FLAG_RW),
                                   0, 0, &manager, &fs->library);
    if (!error && (ext2fs_has_feature_journal_needs_recovery(fs->library->super) ||
                   !(fs->library->super->s_state & EXT2_VALID_FS) ||
                   fs->library->super->s_state & EXT2_ERROR_FS))
        error = EUCLEAN;
    if (!error && fs->library->blocksize < disk->logical_block)
        error = EINVAL;
    if (!error && !read_only)
        error = ext2fs_read_bitmaps(fs->library);
    if (!error && !read_only)
        error = pthread_create(&filler, NULL, fill_holes, fs);
    if (error) {
        if (fs->library)
            ext2fs_free(fs->library);
        free(fs);
        errno = to_errno(error);
        return NULL;
    }
    return fs;
}

static errcode_t find_file(struct ext4_file *file, const char *path, uint64_t *size) {
    ext2_filsys library = file->fs->library;
    struct ext2_inode inode;
    errcode_t error =
        ext2fs_namei_follow(library, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &file->inode);

    error = error ? error : ext2fs_read_inode(library, file->inode, &inode);
    if (error)
        return error;
    *size = EXT2_I_SIZE(&inode);
    if (!LINUX_S_ISREG(inode.i_mode) || *size % file->fs->disk->logical_block)
        return EINVAL;
    return inode.i_flags & EXT4_EXTENTS_FL ? read_runs(file) : EOPNOTSUPP;
}

struct block_device *ext4_file_open(struct ext4 *fs, const char *path, bool read_only) {
    struct ext4_file *file = calloc(1, sizeof(*file));
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    struct block_device *disk = fs->disk;
    uint64_t size = 0;

    if (!file)
        return NULL;
    file->fs = fs;
    pthread_mutex_lock(&fs->library_lock);
    errcode_t error = find_file(file, path, &size);
    pthread_mutex_unlock(&fs->library_lock);
    if (error) {
        free(file->runs);
        free(file);
        errno = to_errno(error);
        return NULL;
    }
    file->device = (struct block_device){.sectors = size / BLOCK_SECTOR_SIZE,
                                         .logical_block = disk->logical_block,
                                         .physical_block = disk->physical_block,
                                         .read_only = read_only || disk->read_only,
                                         .submit = submit,
                                         .poll = disk->poll ? poll : NULL,
                                         .map = disk->map ? map : NULL,
                                         .unmap = disk->unmap ? unmap : NULL};
    memcpy(file->device.id, name, strnlen(name, BLOCK_ID_SIZE));
    return &file->device;
}
