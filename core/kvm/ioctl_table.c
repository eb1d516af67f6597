// SPDX-License-Identifier: BSD-2-Clause
// Tables of KVM ioctls by number: decode (copy in), invoke, copy out.
#include "core/kvm/ioctl_table.h"
#include <asm/errno.h>
#include "core/mm/heap.h"
#include "core/mm/user_copy.h"
#include "core/string.h"

#define STACK_ARGUMENT 512 // bytes; larger structures go to the heap

static int64_t invoke(const struct ioctl_row *row, void *object, void *data, uint64_t argument) {
    if (!(row->direction & IOCTL_IN))
        memset(data, 0, row->size);
    else if (copy_from_user(data, argument, row->size))
        return -EFAULT;
    int result = row->handle.structure(object, data);
    if (result >= 0 && (row->direction & IOCTL_OUT) && copy_to_user(argument, data, row->size))
        return -EFAULT;
    return result;
}

static int64_t invoke_small(const struct ioctl_row *row, void *object, uint64_t argument) {
    uint64_t data[STACK_ARGUMENT / sizeof(uint64_t)];
    return invoke(row, object, data, argument);
}

static int64_t invoke_large(const struct ioctl_row *row, void *object, uint64_t argument) {
    void *data = heap_alloc(row->size);
    if (!data)
        return -ENOMEM;
    int64_t result = invoke(row, object, data, argument);
    heap_free(data);
    return result;
}

int64_t ioctl_dispatch(const struct ioctl_row *rows, unsigned count, void *object, unsigned command,
                       uint64_t argument) {
    const struct ioctl_row *row = &rows[IOCTL_PLACE(command)];
    if (IOCTL_PLACE(command) >= count || row->command != command)
        return -ENOTTY;
    if (!(row->direction & (IOCTL_IN | IOCTL_OUT)))
        return row->handle.argument(object, argument);
    return row->size <= STACK_ARGUMENT ? invoke_small(row, object, argument)
                                       : invoke_large(row, object, argument);
}
