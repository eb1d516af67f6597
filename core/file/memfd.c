// SPDX-License-Identifier: BSD-2-Clause
// memfd_create(2): a regular file that never had a name.
#include <asm/fcntl.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/memfd.h>
#include "core/file/regular_file.h"
#include "core/mm/memory_object.h"
#include "core/mm/user_copy.h"
#include "core/process/system_call.h"

#define NAME_SIZE 250 // NAME_MAX less "memfd:", with the NUL

static int memfd_node(bool huge, bool sealable, struct node **node) {
    *node = node_create(S_IFREG | 0777);
    if (!*node)
        return -ENOMEM;
    (*node)->regular.memory = shared_memory_create(huge);
    (*node)->regular.seals = sealable ? 0 : F_SEAL_SEAL;
    if ((*node)->regular.memory)
        return 0;
    node_put(*node);
    return -ENOMEM;
}

int64_t sys_memfd_create(const uint64_t *arguments) {
    unsigned flags = (unsigned)arguments[1];
    unsigned huge_size = flags >> MFD_HUGE_SHIFT & MFD_HUGE_MASK;
    char name[NAME_SIZE];
    const unsigned huge_flags = (unsigned)MFD_HUGE_MASK << MFD_HUGE_SHIFT;
    unsigned known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB;
    if (flags & MFD_HUGETLB)
        known |= huge_flags;
    if (flags & ~known)
        return -EINVAL;
    if (flags & MFD_HUGETLB && huge_size && huge_size != 21)
        return -EINVAL; // 2 MiB is the only huge page size of memory objects
    int64_t length = copy_string_from_user(name, arguments[0], sizeof(name));
    if (length < 0)
        return length == -ENAMETOOLONG ? -EINVAL : length;
    struct node *node;
    int error = memfd_node(flags & MFD_HUGETLB, flags & MFD_ALLOW_SEALING, &node);
    if (error)
        return error;
    struct file *file = file_create(&regular_file_ops, node, O_RDWR);
    if (!file) {
        node_put(node);
        return -ENOMEM;
    }
    file->node = node;
    return fd_install(file, flags & MFD_CLOEXEC);
}
