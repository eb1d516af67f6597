// SPDX-License-Identifier: BSD-2-Clause
// Reading, writing, mapping and sealing regular files.
#include "core/file/regular_file.h"
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/falloc.h>
#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/mman.h>
#include "core/file/io_buffer.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/sched/thread.h"

#define FILE_SIZE_MAX (1ull << 46) // far above any RAM

static struct regular_content *content(struct file *file) {
    return &file->node->regular;
}

uint64_t regular_size(struct node *node) {
    return __atomic_load_n(&node->regular.size, __ATOMIC_RELAXED);
}

static struct memory_object *writable_object(struct node *node) {
    return __atomic_load_n(&node->regular.memory, __ATOMIC_ACQUIRE);
}

static int copy_out(struct memory_object *object, const uint8_t *data, uint64_t size) {
    for (uint64_t done = 0; done < size;) {
        uint64_t chunk = size - done < 16 * PAGE_SIZE ? size - done : 16 * PAGE_SIZE;
        int64_t written = shared_memory_write(object, done, data + done, chunk);
        if (written <= 0)
            return written ? (int)written : -ENOMEM;
        done += (uint64_t)written;
        thread_preemption_point();
    }
    return 0;
}

// Lets *place have the object unless another thread was faster, which it then belongs to.
static void publish(struct node *node, struct memory_object **place, struct memory_object *object) {
    spin_lock(&node->lock);
    struct memory_object *surplus = *place ? object : NULL;
    if (!surplus)
        __atomic_store_n(place, object, __ATOMIC_RELEASE);
    spin_unlock(&node->lock);
    if (surplus)
        memory_object_put(surplus);
}

// Of the content of the initrd `kept` bytes are wanted.
static int make_writable(struct node *node, uint64_t kept) {
    // Before the look at the object: without one this is the size of what the initrd has. Another
    // thread that makes the object may let the file grow beyond at once.
    uint64_t size = __atomic_load_n(&node->regular.size, __ATOMIC_ACQUIRE);
    if (writable_object(node))
        return 0;
    struct memory_object *object = shared_memory_create(false);
    if (!object)
        return -ENOMEM;
    int error = shared_memory_resize(object, size);
    if (!error)
        error = copy_out(object, node->regular.data, size < kept ? size : kept);
    if (error) {
        memory_object_put(object);
        return error;
    }
    publish(node, &node->regular.memory, object);
    return 0;
}

int regular_make_writable(struct node *node) {
    return make_writable(node, UINT64_MAX);
}

static int64_t read_memory(struct memory_object *object, struct io_buffer *buffer, uint64_t offset,
                           uint64_t size) {
    struct bounce_buffer bounce;
    int64_t error = bounce_buffer_init(&bounce, size);
    while (!error && size) {
        size_t chunk = size < bounce.size ? size : bounce.size;
        int64_t got = shared_memory_read(object, offset, bounce.data, chunk);
        if (got <= 0) {
            error = got;
            break;
        }
        error = io_copy_to(buffer, bounce.data, (size_t)got);
        offset += (uint64_t)got;
        size -= (uint64_t)got;
        thread_preemption_point();
    }
    bounce_buffer_free(&bounce);
    return error;
}

static int64_t regular_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    // Before the look at the object, as in regular_make_writable.
    uint64_t at = *offset, end = __atomic_load_n(&file->node->regular.size, __ATOMIC_ACQUIRE);
    size_t before = io_remaining(buffer);
    if (at >= end)
        return 0;
    uint64_t size = end - at < before ? end - at : before;
    struct memory_object *object = writable_object(file->node);
    int64_t error = object ? read_memory(object, buffer, at, size)
                           : io_copy_to(buffer, content(file)->data + at, size);
    return io_result(buffer, before, error);
}

// Grows the file to `end` bytes if it is shorter. Seals are looked at under the lock they are set
// under.
static int extend(struct node *node, uint64_t end) {
    spin_lock(&node->lock);
    int error = 0;
    if (end > node->regular.size) {
        error = node->regular.seals & F_SEAL_GROW ? -EPERM
                                                  : shared_memory_extend(node->regular.memory, end);
        if (!error)
            __atomic_store_n(&node->regular.size, end, __ATOMIC_RELAXED);
    }
    spin_unlock(&node->lock);
    return error;
}

static int64_t write_memory(struct node *node, struct io_buffer *buffer, uint64_t offset) {
    struct bounce_buffer bounce;
    int64_t error = bounce_buffer_init(&bounce, io_remaining(buffer));
    while (!error && io_remaining(buffer)) {
        size_t before = io_remaining(buffer);
        size_t chunk = before < bounce.size ? before : bounce.size;
        error = io_copy_from(buffer, bounce.data, chunk);
        chunk = before - io_remaining(buffer);
        if (!chunk)
            break;
        int64_t written = extend(node, offset + chunk);
        if (!written)
            written = shared_memory_write(node->regular.memory, offset, bounce.data, chunk);
        if (written < (int64_t)chunk) { // what was not stored was not transferred
            buffer->remaining = before - (written > 0 ? (size_t)written : 0);
            error = written < 0 ? written : -ENOSPC;
            break;
        }
        offset += chunk;
        thread_preemption_point();
    }
    bounce_buffer_free(&bounce);
    return error;
}

static int64_t regular_write(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    struct node *node = file->node;
    if (file->flags & O_APPEND)
        *offset = regular_size(node);
    uint64_t at = *offset;
    size_t before = io_remaining(buffer);
    if (!before)
        return 0;
    if (at > FILE_SIZE_MAX || before > FILE_SIZE_MAX - at)
        return -EFBIG;
    if (node->regular.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    int error = regular_make_writable(node);
    if (error)
        return error == -ENOMEM ? -ENOSPC : error;
    int64_t result = io_result(buffer, before, write_memory(node, buffer, at));
    if (result > 0)
        node_touch(node);
    return result;
}

int regular_truncate(struct node *node, uint64_t size) {
    if (size > FILE_SIZE_MAX)
        return -EFBIG;
    int error = make_writable(node, size);
    if (error)
        return error;
    spin_lock(&node->lock);
    uint64_t now = node->regular.size;
    uint32_t seal = size < now ? F_SEAL_SHRINK : size > now ? F_SEAL_GROW : 0;
    bool sealed = node->regular.seals & seal;
    if (!sealed)
        __atomic_store_n(&node->regular.size, size, __ATOMIC_RELAXED);
    spin_unlock(&node->lock);
    if (sealed)
        return -EPERM;
    node_touch(node);
    return size == now ? 0 : shared_memory_resize(node->regular.memory, size);
}

int regular_allocate(struct node *node, int mode, uint64_t offset, uint64_t size) {
    bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    if (!punch && mode & ~FALLOC_FL_KEEP_SIZE)
        return -EOPNOTSUPP;
    if (!size || (int64_t)offset < 0 || (int64_t)size < 0)
        return -EINVAL;
    if (offset > FILE_SIZE_MAX || size > FILE_SIZE_MAX - offset)
        return -EFBIG;
    if (punch && node->regular.seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    if (mode == FALLOC_FL_KEEP_SIZE) // pages come on first touch; room is not promised
        return 0;
    int error = regular_make_writable(node);
    if (error)
        return error;
    return punch ? shared_memory_punch(node->regular.memory, offset, size)
                 : extend(node, offset + size);
}

// Pages never written are shown from the initrd; a shared writable mapping needs the RAM copy.
static int regular_map(struct file *file, uint64_t offset, uint64_t size, int prot, int flags,
                       struct memory_object **object, uint64_t *object_offset) {
    struct node *node = file->node;
    struct regular_content *regular = content(file);
    bool shared = (flags & MAP_TYPE) == MAP_SHARED || (flags & MAP_TYPE) == MAP_SHARED_VALIDATE;
    bool writes = shared && (prot & PROT_WRITE || (file->flags & O_ACCMODE) == O_RDWR);
    if (shared && prot & PROT_WRITE && regular->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    if (writes) {
        int error = regular_make_writable(node);
        if (error)
            return error;
    }
    *object_offset = offset;
    // In this order: without an object the size is that of the data.
    uint64_t data_size = __atomic_load_n(&regular->size, __ATOMIC_ACQUIRE);
    *object = writable_object(node);
    if (!*object && !__atomic_load_n(&regular->view, __ATOMIC_ACQUIRE)) {
        struct memory_object *view = fixed_memory_create(regular->data, data_size);
        if (!view)
            return -ENOMEM;
        publish(node, &regular->view, view);
    }
    if (!*object)
        *object = regular->view;
    if (writes)
        regular->mapped_writable = true;
    memory_object_get(*object);
    return 0;
}

static int64_t regular_seek(struct file *file, int64_t offset, int whence) {
    int64_t end = (int64_t)regular_size(file->node), base;
    switch (whence) {
    case SEEK_SET:
        base = 0;
        break;
    case SEEK_CUR:
        base = (int64_t)atomic_load(&file->offset);
        break;
    case SEEK_END:
        base = end;
        break;
    case SEEK_DATA: // no holes are reported: all is data, the end is the one hole
    case SEEK_HOLE:
        if (offset < 0 || offset >= end)
            return -ENXIO;
        base = whence == SEEK_HOLE ? end - offset : 0;
        break;
    default:
        return -EINVAL;
    }
    int64_t to;
    if (__builtin_add_overflow(base, offset, &to))
        return -EOVERFLOW;
    if (to < 0)
        return -EINVAL;
    atomic_store(&file->offset, (uint64_t)to);
    return to;
}

int regular_add_seals(struct file *file, uint32_t seals) {
    const uint32_t known =
        F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
    struct regular_content *regular = content(file);
    if ((file->flags & O_ACCMODE) == O_RDONLY)
        return -EPERM;
    if (seals & ~known)
        return -EINVAL;
    spin_lock(&file->node->lock);
    int error = 0;
    if (regular->seals & F_SEAL_SEAL)
        error = -EPERM;
    else if (seals & F_SEAL_WRITE && !(regular->seals & F_SEAL_WRITE) && regular->mapped_writable &&
             atomic_load(&regular->memory->references) >
                 1) // a mapping made then may still be there
        error = -EBUSY;
    else
        regular->seals |= seals;
    spin_unlock(&file->node->lock);
    return error;
}

const struct file_ops regular_file_ops = {
    .name = "regular",
    .read = regular_read,
    .write = regular_write,
    .map = regular_map,
    .seek = regular_seek,
};
