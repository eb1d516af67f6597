// SPDX-License-Identifier: BSD-2-Clause
// /proc/self/pagemap (Linux's Documentation/admin-guide/mm/pagemap.rst): where memory really is,
// for devices that no IOMMU translates for. Memory never moves here.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include "core/file/directory.h"
#include "core/file/file.h"
#include "core/file/io_buffer.h"
#include "core/mm/address_space.h"
#include "core/mm/page.h"
#include "core/process/proc_files.h"
#include "core/process/process.h"
#include "core/sched/thread.h"

#define PRESENT (1ull << 63)

static int64_t pagemap_read(struct file *file, struct io_buffer *buffer, uint64_t *offset) {
    uint64_t from = *offset, entry;
    size_t before = io_remaining(buffer);
    int error = 0;
    if ((from | before) % sizeof entry)
        return -EINVAL;
    for (uint64_t page = from / sizeof entry;
         !error && io_remaining(buffer) && page < USER_END >> PAGE_SHIFT; page++) {
        uint64_t physical = address_space_physical(file->object, page << PAGE_SHIFT);
        entry = physical == PHYSICAL_NONE ? 0 : PRESENT | physical >> PAGE_SHIFT;
        error = io_copy_to(buffer, &entry, sizeof entry);
        thread_preemption_point();
    }
    return io_result(buffer, before, error);
}

static void pagemap_release(struct file *file) {
    address_space_put(file->object);
}

static const struct file_ops pagemap_ops = {
    .name = "pagemap", .read = pagemap_read, .seek = directory_seek, .release = pagemap_release};

static struct file *pagemap_open(void *object, int flags, int *error) {
    struct address_space *space = process_current()->space;
    struct file *file = file_create(&pagemap_ops, space, (uint32_t)flags & O_ACCMODE);
    if (file)
        address_space_get(space);
    else
        *error = -ENOMEM;
    return file;
}

void pagemap_register(void) {
    device_register("/proc/self/pagemap", 0, pagemap_open, NULL);
}
