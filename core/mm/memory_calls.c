// SPDX-License-Identifier: BSD-2-Clause
// The memory system calls.
#include <asm/errno.h>
#include <asm/fcntl.h>
#include <linux/mman.h>
#include "core/file/file.h"
#include "core/mm/address_space.h"
#include "core/mm/memory_object.h"
#include "core/mm/page.h"
#include "core/mm/user_copy.h"
#include "core/process/process.h"
#include "core/process/system_call.h"
#include "core/sched/thread.h"

static struct address_space *current_space(void) {
    return process_current()->space;
}

static int check_file_access(const struct file *file, int prot, int flags) {
    unsigned mode = file->flags & O_ACCMODE;
    bool shared = (flags & MAP_TYPE) != MAP_PRIVATE;
    if (mode == O_WRONLY || (shared && (prot & PROT_WRITE) && mode != O_RDWR))
        return -EACCES;
    return file->ops->map ? 0 : -ENODEV;
}

static int64_t map_file(uint64_t address, uint64_t size, int prot, int flags, int fd,
                        uint64_t offset) {
    struct file *file = fd_get(fd);
    if (!file)
        return -EBADF;
    struct memory_object *object = NULL;
    uint64_t object_offset = offset;
    int64_t result = check_file_access(file, prot, flags);
    if (!result)
        result = file->ops->map(file, offset, size, prot, flags, &object, &object_offset);
    if (!result) {
        if ((flags & MAP_TYPE) != MAP_PRIVATE && (file->flags & O_ACCMODE) == O_RDONLY)
            flags |= ADDRESS_SPACE_MAP_NO_WRITE;
        result =
            address_space_map(current_space(), address, size, prot, flags, object, object_offset);
        memory_object_put(object);
    }
    file_put(file);
    return result;
}

int64_t sys_mmap(const uint64_t *arguments) {
    uint64_t address = arguments[0], size = arguments[1], offset = arguments[5];
    int prot = (int)arguments[2], flags = (int)arguments[3] & ~ADDRESS_SPACE_MAP_NO_WRITE;
    if (offset & (PAGE_SIZE - 1))
        return -EINVAL;
    if (!size)
        return -EINVAL;
    int64_t result;
    if (flags & MAP_ANONYMOUS)
        result = address_space_map(current_space(), address, size, prot, flags, NULL, 0);
    else
        result = map_file(address, size, prot, flags, (int)arguments[4], offset);
    // As Linux: what cannot be made present now is left to the first touch.
    if (result >= 0 && (flags & (MAP_POPULATE | MAP_LOCKED)))
        address_space_advise(current_space(), (uint64_t)result, size,
                             prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    return result;
}

int64_t sys_munmap(const uint64_t *arguments) {
    return address_space_unmap(current_space(), arguments[0], arguments[1]);
}

int64_t sys_mprotect(const uint64_t *arguments) {
    return address_space_protect(current_space(), arguments[0], arguments[1], (int)arguments[2]);
}

int64_t sys_madvise(const uint64_t *arguments) {
    return address_space_advise(current_space(), arguments[0], arguments[1], (int)arguments[2]);
}

int64_t sys_mremap(const uint64_t *arguments) {
    return address_space_remap(current_space(), arguments[0], arguments[1], arguments[2],
                               (unsigned)arguments[3], arguments[4]);
}

int64_t sys_brk(const uint64_t *arguments) {
    return (int64_t)address_space_brk(current_space(), arguments[0]);
}

// Memory is never paged out: to lock it is to have it there.
int64_t sys_mlock2(const uint64_t *arguments) {
    uint64_t address = arguments[0], size = arguments[1], flags = arguments[2];
    if (flags & ~(uint64_t)MLOCK_ONFAULT)
        return -EINVAL;
    uint64_t start = address & PAGE_MASK;
    if (flags || !size)
        return 0;
    struct address_space *space = current_space();
    int error = address_space_advise(space, start, address - start + size, MADV_POPULATE_WRITE);
    if (error == -EFAULT) // it may only be read
        error = address_space_advise(space, start, address - start + size, MADV_POPULATE_READ);
    return error == -EFAULT ? -ENOMEM : error;
}

int64_t sys_munlock(const uint64_t *arguments) {
    return 0;
}

// What is there stays, and what comes will stay.
int64_t sys_mlockall(const uint64_t *arguments) {
    const uint64_t known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
    return !arguments[0] || arguments[0] & ~known || arguments[0] == MCL_ONFAULT ? -EINVAL : 0;
}

// Shared mappings show the file itself: nothing waits to be written.
int64_t sys_msync(const uint64_t *arguments) {
    const uint64_t known = MS_ASYNC | MS_INVALIDATE | MS_SYNC;
    if (arguments[2] & ~known || (arguments[2] & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC))
        return -EINVAL;
    return address_space_advise(current_space(), arguments[0], arguments[1], MADV_NORMAL);
}

// What this address space has; a page that only its file has counts as absent.
int64_t sys_mincore(const uint64_t *arguments) {
    uint64_t address = arguments[0], left = (arguments[1] + PAGE_SIZE - 1) >> PAGE_SHIFT;
    uint8_t there[256];
    if (address & (PAGE_SIZE - 1))
        return -EINVAL;
    if (arguments[1] > USER_END || address > USER_END - (left << PAGE_SHIFT))
        return -ENOMEM;
    for (uint64_t to = arguments[2], count; left; left -= count, to += count) {
        count = left < sizeof there ? left : sizeof there;
        if (address_space_resident(current_space(), address, count, there))
            return -ENOMEM;
        if (copy_to_user(to, there, count))
            return -EFAULT;
        address += count << PAGE_SHIFT;
        thread_preemption_point();
    }
    return 0;
}
