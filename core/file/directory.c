// SPDX-License-Identifier: BSD-2-Clause
// Open directories: getdents64(2) and seeking in them.
#include "core/file/directory.h"
#include <linux/errno.h>
#include <linux/fs.h>
#include "core/file/node.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"
#include "core/string.h"

// getdents64(2): no uapi header has it.
struct directory_record {
    uint64_t inode;
    int64_t next_offset;
    uint16_t size;
    uint8_t type; // DT_*: the S_IFMT bits
    char name[];
};

#define RECORD_HEADER offsetof(struct directory_record, name)

// Offsets: 0 is ".", 1 is "..", an entry's is its cookie + 2 with cookies from 1; d_off is where
// the next read goes on.
enum { OFFSET_DOT, OFFSET_DOT_DOT, OFFSET_ENTRIES };

struct record_writer {
    uint8_t *to;
    size_t size, used;
    uint64_t offset; // of what is read next
};

static bool put_record(struct record_writer *writer, struct node *node, const char *name,
                       size_t length, uint64_t next_offset) {
    size_t size = (RECORD_HEADER + length + 1 + 7) & ~7ul;
    if (size > writer->size - writer->used)
        return false;
    struct directory_record *record = (struct directory_record *)(writer->to + writer->used);
    memset(record, 0, size);
    record->inode = node->number;
    record->next_offset = (int64_t)next_offset;
    record->size = (uint16_t)size;
    record->type = (uint8_t)((node->mode & S_IFMT) >> 12);
    memcpy(record->name, name, length);
    writer->used += size;
    writer->offset = next_offset;
    return true;
}

static void put_entries(struct record_writer *writer, struct node *directory) {
    if (writer->offset == OFFSET_DOT && !put_record(writer, directory, ".", 1, OFFSET_DOT_DOT))
        return;
    if (writer->offset == OFFSET_DOT_DOT &&
        !put_record(writer, node_parent(directory), "..", 2, OFFSET_ENTRIES))
        return;
    list_for_each_entry(struct directory_entry, entry, &directory->directory.entries, link) {
        uint64_t offset = entry->cookie + OFFSET_ENTRIES;
        if (offset <= writer->offset)
            continue;
        if (!put_record(writer, entry->node, entry->name, entry->length, offset))
            return;
    }
}

static bool more_entries(struct node *directory, uint64_t offset) {
    struct list *last = directory->directory.entries.prev;
    if (offset < OFFSET_ENTRIES)
        return true;
    return last != &directory->directory.entries &&
           container_of(last, struct directory_entry, link)->cookie + OFFSET_ENTRIES > offset;
}

int64_t file_getdents64(struct file *file, const uint64_t *arguments) {
    size_t size = (uint32_t)arguments[2];
    uint64_t page = page_alloc(0);
    if (page == PHYSICAL_NONE)
        return -ENOMEM;
    struct record_writer writer = {.to = page_to_virtual(page),
                                   .size = size < PAGE_SIZE ? size : PAGE_SIZE,
                                   .offset = atomic_load(&file->offset)};
    spin_lock(&tree_lock);
    put_entries(&writer, file->node);
    bool too_small = !writer.used && more_entries(file->node, writer.offset);
    spin_unlock(&tree_lock);
    int64_t result = too_small ? -EINVAL : (int64_t)writer.used;
    if (writer.used && copy_to_user(arguments[1], writer.to, writer.used))
        result = -EFAULT;
    if (result > 0)
        atomic_store(&file->offset, writer.offset);
    page_put(page);
    return result;
}

int64_t directory_seek(struct file *file, int64_t offset, int whence) {
    if (whence == SEEK_CUR)
        offset += (int64_t)atomic_load(&file->offset);
    else if (whence != SEEK_SET)
        return -EINVAL;
    if (offset < 0)
        return -EINVAL;
    atomic_store(&file->offset, (uint64_t)offset);
    return offset;
}

static int64_t directory_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    return -EISDIR;
}

const struct file_ops directory_ops = {
    .name = "directory",
    .read = directory_read,
    .seek = directory_seek,
};
